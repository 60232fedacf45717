//! The mails to the customer: subject, HTML, and plain text, from the compiled templates in
//! `templates/`.
//!
//! A mail omits every missing or blank fact. The smallest mail has only the event and a name.
//!
//! Every string is untrusted. `inline` cleans it once before any template uses it: no line breaks,
//! control characters, or direction overrides, so no value can start its own line in the plain text
//! or a header in the subject. The HTML templates also escape (askama, by the `.html` in the
//! template's name). `unlinked` then breaks up whatever a mail client would turn into a link.

use std::fmt;

use askama::Template;

use self::templates::{Html, Text};

/// The longest subject, in characters. Every ID that the API accepts fits uncut.
const SUBJECT_MAX: usize = 120;

/// The longest name in the greeting, in characters: enough for a name, too short for an
/// advertisement.
const NAME_MAX: usize = 60;

/// The longest line of plain text, in columns (RFC 5322 §2.1.1); a longer word stays whole.
const TEXT_COLUMNS: usize = 78;

/// Extra indent of a folded line's continuation. Deeper than any template line (0 to 4), so a value
/// cannot imitate one.
const FOLD_INDENT: usize = 6;

/// White space to every program, yet barely visible.
const HAIR_SPACE: char = '\u{200a}';

/// The event of the mail; selects template and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    /// The invoice was issued. Shows the invoice ID and the shipping address.
    InvoiceCreated,
    /// The payment was captured. Shows the invoice ID and the card.
    PaymentProcessed,
    /// The parcel was shipped. Shows the tracking number and the address.
    OrderShipped,
    /// The carrier's driver has the parcel. Shows the tracking number and the address.
    ParcelOutForDelivery,
    /// The parcel waits at the carrier. Shows the tracking number.
    ParcelAvailableForPickup,
    /// The carrier has delivered the parcel. Shows the tracking number and the address.
    ParcelDelivered,
    /// The carrier returns the parcel to the shop. Shows the tracking number.
    ParcelReturned,
    /// The payment was refunded. Shows the card and the order.
    PaymentRefunded,
    /// The order was cancelled. Shows the order and the invoice.
    OrderCancelled,
}

/// The facts of a mail.
///
/// The strings are untrusted and need no preparation. A blank one counts as missing.
#[derive(Clone, Debug)]
pub struct MailFacts {
    /// The event.
    pub kind: MailKind,
    /// The customer's name for the greeting. Cut to 60 characters, and omitted if it contains a web
    /// or mail address.
    pub name: String,
    /// The order ID, for the subject and the body.
    pub order_id: Option<String>,
    /// The invoice ID; shown when it is issued and when it is paid, and in the subject if there is
    /// no order ID.
    pub invoice_id: Option<String>,
    /// ISO 4217 code, such as `USD`, shown after each amount. If absent, amounts are bare numbers.
    pub currency: Option<String>,
    /// The order's lines, in its order; empty if unknown.
    pub lines: Vec<MailLine>,
    /// The order's amounts; `None` if unknown.
    pub amounts: Option<MailAmounts>,
    /// The charged card; shown when it is charged or refunded.
    pub card: Option<MailCard>,
    /// The carrier's tracking number; shown in the mails about the shipment and the parcel only.
    pub tracking_number: Option<String>,
    /// The shipping address; shown with the invoice, the shipment, and the delivery. Line breaks
    /// become spaces.
    pub shipping_address: Option<String>,
    /// The refunded amount, if it is a part of what was paid; shown in
    /// [`MailKind::PaymentRefunded`] only.
    pub refunded_part: Option<String>,
    /// Whether the order expired unpaid; shown in [`MailKind::OrderCancelled`] only.
    pub expired: bool,
    /// Whether the order costs nothing: its mails do not mention money.
    pub free: bool,
}

/// One line of the order. Amounts here and in [`MailAmounts`] are shown unchanged: format them with
/// the currency's decimals (`50.00`).
#[derive(Clone, Debug)]
pub struct MailLine {
    /// The product's ID.
    pub product_id: String,
    /// The quantity.
    pub quantity: u32,
    /// Unit price, a decimal without currency.
    pub price: String,
    /// Line total, a decimal without currency.
    pub total: String,
}

/// The order's amounts, decimals without currency.
#[derive(Clone, Debug)]
pub struct MailAmounts {
    /// The total without tax.
    pub sub_total: String,
    /// The tax.
    pub tax: String,
    /// The total with tax.
    pub total: String,
}

/// The card that was charged.
#[derive(Clone, Debug)]
pub struct MailCard {
    /// The brand as the billing partner writes it, such as `visa`.
    pub brand: String,
    /// The last digits of the number. At most four characters are shown.
    pub last_digits: String,
}

/// A rendered mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line without control characters, up to 120 characters long.
    pub subject: String,
    /// The complete HTML document, UTF-8.
    pub html: String,
    /// The same content in plain text: UTF-8, `\n` line ends, folded at 78 columns.
    pub text: String,
}

/// Why a mail could not be rendered.
#[derive(Debug)]
pub enum RenderError {
    /// A template failed. The templates are compiled in, so this is a bug in this crate.
    Template(askama::Error),
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(_) => f.write_str("mail template failed to render"),
        }
    }
}

impl std::error::Error for RenderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Template(error) => Some(error),
        }
    }
}

impl From<askama::Error> for RenderError {
    fn from(error: askama::Error) -> Self {
        Self::Template(error)
    }
}

/// Renders the mail with whatever facts are known.
pub fn render(facts: &MailFacts) -> Result<Mail, RenderError> {
    let view = View::new(facts);
    let mail = &view;
    let (html, text) = match facts.kind {
        MailKind::InvoiceCreated => (
            Html::InvoiceCreated { mail }.render()?,
            Text::InvoiceCreated { mail }.render()?,
        ),
        MailKind::PaymentProcessed => (
            Html::PaymentProcessed { mail }.render()?,
            Text::PaymentProcessed { mail }.render()?,
        ),
        MailKind::OrderShipped => (
            Html::OrderShipped { mail }.render()?,
            Text::OrderShipped { mail }.render()?,
        ),
        MailKind::ParcelOutForDelivery => (
            Html::ParcelOutForDelivery { mail }.render()?,
            Text::ParcelOutForDelivery { mail }.render()?,
        ),
        MailKind::ParcelAvailableForPickup => (
            Html::ParcelAvailableForPickup { mail }.render()?,
            Text::ParcelAvailableForPickup { mail }.render()?,
        ),
        MailKind::ParcelDelivered => (
            Html::ParcelDelivered { mail }.render()?,
            Text::ParcelDelivered { mail }.render()?,
        ),
        MailKind::ParcelReturned => (
            Html::ParcelReturned { mail }.render()?,
            Text::ParcelReturned { mail }.render()?,
        ),
        MailKind::PaymentRefunded => (
            Html::PaymentRefunded { mail }.render()?,
            Text::PaymentRefunded { mail }.render()?,
        ),
        MailKind::OrderCancelled => (
            Html::OrderCancelled { mail }.render()?,
            Text::OrderCancelled { mail }.render()?,
        ),
    };
    Ok(Mail {
        html,
        text: fold(&text),
        subject: view.subject,
    })
}

/// The templates, one variant per mail.
mod templates {
    #![expect(
        clippy::ref_binding_to_reference,
        reason = "the derive binds the fields of a variant by reference"
    )]

    use askama::Template;

    use super::View;

    #[derive(Template)]
    pub(super) enum Html<'a> {
        #[template(path = "invoice_created.html")]
        InvoiceCreated { mail: &'a View },
        #[template(path = "payment_processed.html")]
        PaymentProcessed { mail: &'a View },
        #[template(path = "order_shipped.html")]
        OrderShipped { mail: &'a View },
        #[template(path = "parcel_out_for_delivery.html")]
        ParcelOutForDelivery { mail: &'a View },
        #[template(path = "parcel_available_for_pickup.html")]
        ParcelAvailableForPickup { mail: &'a View },
        #[template(path = "parcel_delivered.html")]
        ParcelDelivered { mail: &'a View },
        #[template(path = "parcel_returned.html")]
        ParcelReturned { mail: &'a View },
        #[template(path = "payment_refunded.html")]
        PaymentRefunded { mail: &'a View },
        #[template(path = "order_cancelled.html")]
        OrderCancelled { mail: &'a View },
    }

    #[derive(Template)]
    pub(super) enum Text<'a> {
        #[template(path = "invoice_created.txt")]
        InvoiceCreated { mail: &'a View },
        #[template(path = "payment_processed.txt")]
        PaymentProcessed { mail: &'a View },
        #[template(path = "order_shipped.txt")]
        OrderShipped { mail: &'a View },
        #[template(path = "parcel_out_for_delivery.txt")]
        ParcelOutForDelivery { mail: &'a View },
        #[template(path = "parcel_available_for_pickup.txt")]
        ParcelAvailableForPickup { mail: &'a View },
        #[template(path = "parcel_delivered.txt")]
        ParcelDelivered { mail: &'a View },
        #[template(path = "parcel_returned.txt")]
        ParcelReturned { mail: &'a View },
        #[template(path = "payment_refunded.txt")]
        PaymentRefunded { mail: &'a View },
        #[template(path = "order_cancelled.txt")]
        OrderCancelled { mail: &'a View },
    }
}

/// The facts as the templates show them. Every string has been through [`shown`], blank ones are
/// gone, and amounts have their currency. HTML and text share this view, so their content cannot
/// differ.
struct View {
    subject: String,
    name: Option<String>,
    facts: Vec<Fact>,
    tracking_number: Option<String>,
    lines: Vec<MailLine>,
    amounts: Option<MailAmounts>,
    total_label: &'static str,
    refunded_part: Option<String>,
    expired: bool,
    free: bool,
}

/// A labelled value. The main one is highlighted.
struct Fact {
    label: &'static str,
    value: String,
    main: bool,
}

impl View {
    fn new(facts: &MailFacts) -> Self {
        let order_id = nonblank(facts.order_id.as_deref());
        let invoice_id = nonblank(facts.invoice_id.as_deref());
        let tracking_number = nonblank(facts.tracking_number.as_deref());
        let address = nonblank(facts.shipping_address.as_deref());
        let card = facts.card.as_ref().and_then(card);
        let currency = nonblank(facts.currency.as_deref());
        let money = |amount: &str| match &currency {
            Some(currency) => format!("{} {currency}", shown(amount)),
            None => shown(amount),
        };
        let part = facts.refunded_part.as_deref().map(money);

        let labelled = match facts.kind {
            MailKind::InvoiceCreated => vec![
                ("Invoice", invoice_id.clone(), true),
                ("Order", order_id.clone(), false),
                ("Ships to", address, false),
            ],
            MailKind::PaymentProcessed => vec![
                ("Paid with", card, true),
                ("Order", order_id.clone(), false),
                ("Invoice", invoice_id.clone(), false),
            ],
            MailKind::OrderShipped | MailKind::ParcelOutForDelivery => vec![
                ("Tracking number", tracking_number.clone(), true),
                ("Order", order_id.clone(), false),
                ("Ships to", address, false),
            ],
            MailKind::ParcelDelivered => vec![
                ("Tracking number", tracking_number.clone(), true),
                ("Order", order_id.clone(), false),
                ("Shipped to", address, false),
            ],
            MailKind::ParcelAvailableForPickup | MailKind::ParcelReturned => vec![
                ("Tracking number", tracking_number.clone(), true),
                ("Order", order_id.clone(), false),
            ],
            MailKind::PaymentRefunded => vec![
                ("Refunded", part.clone(), true),
                ("Refunded to", card, true),
                ("Order", order_id.clone(), false),
                ("Invoice", invoice_id.clone(), false),
            ],
            MailKind::OrderCancelled => vec![
                ("Order", order_id.clone(), true),
                ("Invoice", invoice_id.clone(), false),
            ],
        };

        Self {
            subject: subject(facts, order_id.as_deref(), invoice_id.as_deref()),
            name: greeting_name(&facts.name),
            facts: labelled
                .into_iter()
                .filter_map(|(label, value, main)| value.map(|value| Fact { label, value, main }))
                .collect(),
            tracking_number,
            lines: facts
                .lines
                .iter()
                .map(|line| MailLine {
                    product_id: shown(&line.product_id),
                    quantity: line.quantity,
                    price: money(&line.price),
                    total: money(&line.total),
                })
                .collect(),
            amounts: facts.amounts.as_ref().map(|amounts| MailAmounts {
                sub_total: money(&amounts.sub_total),
                tax: money(&amounts.tax),
                total: money(&amounts.total),
            }),
            total_label: match facts.kind {
                MailKind::InvoiceCreated | MailKind::OrderCancelled => "Total",
                MailKind::PaymentRefunded => "Total refunded",
                MailKind::PaymentProcessed
                | MailKind::OrderShipped
                | MailKind::ParcelOutForDelivery
                | MailKind::ParcelAvailableForPickup
                | MailKind::ParcelDelivered
                | MailKind::ParcelReturned => {
                    if facts.free {
                        "Total"
                    } else {
                        "Total paid"
                    }
                }
            },
            refunded_part: part,
            expired: facts.expired,
            free: facts.free,
        }
    }

    fn has_table(&self) -> bool {
        !self.lines.is_empty() || self.amounts.is_some()
    }
}

/// The subject, with the order ID, or else the invoice ID, or else neither.
fn subject(facts: &MailFacts, order_id: Option<&str>, invoice_id: Option<&str>) -> String {
    let subject = match (facts.kind, order_id, invoice_id) {
        (MailKind::InvoiceCreated, Some(order), _) => format!("Your invoice for order {order}"),
        (MailKind::InvoiceCreated, None, Some(invoice)) => format!("Your invoice {invoice}"),
        (MailKind::InvoiceCreated, None, None) => "Your invoice is ready".to_owned(),
        (MailKind::PaymentProcessed, Some(order), _) if facts.free => {
            format!("Your order {order} is confirmed")
        }
        (MailKind::PaymentProcessed, None, _) if facts.free => "Your order is confirmed".to_owned(),
        (MailKind::PaymentProcessed, Some(order), _) => {
            format!("We received your payment for order {order}")
        }
        (MailKind::PaymentProcessed, None, Some(invoice)) => {
            format!("We received your payment for invoice {invoice}")
        }
        (MailKind::PaymentProcessed, None, None) => "We received your payment".to_owned(),
        (MailKind::OrderShipped, Some(order), _) => format!("Your order {order} is on its way"),
        (MailKind::OrderShipped, None, _) => "Your order is on its way".to_owned(),
        (MailKind::ParcelOutForDelivery, Some(order), _) => {
            format!("Your order {order} is out for delivery")
        }
        (MailKind::ParcelOutForDelivery, None, _) => "Your order is out for delivery".to_owned(),
        (MailKind::ParcelAvailableForPickup, Some(order), _) => {
            format!("Your order {order} is ready for pickup")
        }
        (MailKind::ParcelAvailableForPickup, None, _) => {
            "Your order is ready for pickup".to_owned()
        }
        (MailKind::ParcelDelivered, Some(order), _) => format!("Your order {order} was delivered"),
        (MailKind::ParcelDelivered, None, _) => "Your order was delivered".to_owned(),
        (MailKind::ParcelReturned, Some(order), _) => {
            format!("Your order {order} is being returned to us")
        }
        (MailKind::ParcelReturned, None, _) => "Your order is being returned to us".to_owned(),
        (MailKind::PaymentRefunded, Some(order), _) => {
            format!("Your refund for order {order} is on its way")
        }
        (MailKind::PaymentRefunded, None, Some(invoice)) => {
            format!("Your refund for invoice {invoice} is on its way")
        }
        (MailKind::PaymentRefunded, None, None) => "Your refund is on its way".to_owned(),
        (MailKind::OrderCancelled, Some(order), _) => format!("Your order {order} is cancelled"),
        (MailKind::OrderCancelled, None, _) => "Your order is cancelled".to_owned(),
    };
    shorten(&subject, SUBJECT_MAX)
}

/// The name for the greeting, or `None` for a greeting without one.
fn greeting_name(name: &str) -> Option<String> {
    let name = inline(name);
    let is_name = !domain::is_blank(&name) && !holds_address(&name);
    is_name.then(|| unlinked(&shorten(&name, NAME_MAX)))
}

/// Whether a part of the value is a web or mail address: `https://…`, `www.…`, `shop.example`,
/// `a@b`. Initials (`J.R. Hay`) and abbreviations before a space (`Dr. Hay`) do not count.
fn holds_address(value: &str) -> bool {
    value.contains("://")
        || value.contains(is_at)
        || value.match_indices(is_dot).any(|(at, dot)| {
            let (before, after) = (&value[..at], &value[at + dot.len()..]);
            before.ends_with(char::is_alphanumeric)
                && after.chars().take_while(|c| c.is_alphanumeric()).count() >= 2
        })
}

/// The full stop and every character that IDNA or compatibility normalization maps to it (UTS #46,
/// mapping table).
fn is_dot(c: char) -> bool {
    matches!(
        c,
        '.' | '\u{3002}'
            | '\u{ff0e}'
            | '\u{ff61}'
            | '\u{2024}'
            | '\u{2025}'
            | '\u{2026}'
            | '\u{fe52}'
    )
}

/// The at sign and its compatibility forms.
fn is_at(c: char) -> bool {
    matches!(c, '@' | '\u{ff20}' | '\u{fe6b}')
}

/// The colon of a scheme and its compatibility forms.
fn is_colon(c: char) -> bool {
    matches!(c, ':' | '\u{ff1a}' | '\u{fe55}' | '\u{fe13}')
}

/// The slash and its compatibility forms.
fn is_slash(c: char) -> bool {
    matches!(
        c,
        '/' | '\\' | '\u{ff0f}' | '\u{ff3c}' | '\u{fe68}' | '\u{2044}' | '\u{2215}'
    )
}

/// Breaks up addresses where mail clients detect them: inserts a hair space after each dot, at
/// sign, colon, and slash that another character follows. Link detection stops at white space, and
/// Android's patterns, which accept most invisible characters in an address, exclude this one
/// (`UCS_CHAR` in `android.util.Patterns`). A decimal number stays whole.
///
/// The value has been through [`inline`]. Phone numbers stay: they cannot be told from product and
/// tracking numbers.
fn unlinked(value: &str) -> String {
    let words = value.split(' ').map(|word| {
        if is_decimal(word) {
            word.to_owned()
        } else {
            part(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Digits with one dot among them.
fn is_decimal(word: &str) -> bool {
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    word.split_once('.')
        .is_some_and(|(whole, rest)| is_digits(whole) && is_digits(rest))
}

fn part(word: &str) -> String {
    let mut parted = String::with_capacity(word.len());
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        parted.push(c);
        let parts = is_dot(c) || is_at(c) || is_colon(c) || is_slash(c);
        if parts && rest.peek().is_some() {
            parted.push(HAIR_SPACE);
        }
    }
    parted
}

/// `Visa ending in 4242`, with whichever part is known.
fn card(card: &MailCard) -> Option<String> {
    let digits = nonblank(Some(&card.last_digits)).map(|digits| {
        let skip = digits.chars().count().saturating_sub(4);
        digits.chars().skip(skip).collect::<String>()
    });
    let brand = nonblank(Some(&card.brand)).map(|brand| {
        let mut rest = brand.chars();
        rest.next()
            .map(|first| first.to_uppercase().chain(rest).collect::<String>())
            .unwrap_or_default()
    });
    match (brand, digits) {
        (Some(brand), Some(digits)) => Some(format!("{brand} ending in {digits}")),
        (Some(brand), None) => Some(brand),
        (None, Some(digits)) => Some(format!("Card ending in {digits}")),
        (None, None) => None,
    }
}

/// The value to show; `None` if nothing is left.
fn nonblank(value: Option<&str>) -> Option<String> {
    value.map(shown).filter(|value| !domain::is_blank(value))
}

/// The value on one line, without links.
fn shown(value: &str) -> String {
    unlinked(&inline(value))
}

/// One line of visible text. Line breaks, control characters, and runs of white space become one
/// space; characters that reorder or hide text are dropped; the ends are trimmed. Joiners and
/// direction marks stay, because scripts and emoji need them.
fn inline(value: &str) -> String {
    let spaced: String = value
        .chars()
        .filter(|c| !reorders_or_hides(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // `split_whitespace` also splits at Unicode's line and paragraph separators.
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Direction embeddings, overrides, and isolates, soft hyphen, zero width space, word joiner, byte
/// order mark.
fn reorders_or_hides(c: char) -> bool {
    matches!(
        c,
        '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{ad}'
            | '\u{200b}'
            | '\u{2060}'
            | '\u{feff}'
    )
}

/// At most `max` characters; a cut value ends with `…`.
fn shorten(value: &str, max: usize) -> String {
    if value.chars().count() <= max {
        return value.to_owned();
    }
    let kept: String = value.chars().take(max - 1).collect();
    format!("{}…", kept.trim_end())
}

/// Folds lines longer than [`TEXT_COLUMNS`] at their spaces and ends the text with one line end.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + 64);
    for line in text.trim_end().lines() {
        fold_line(line, &mut folded);
        folded.push('\n');
    }
    folded
}

fn fold_line(line: &str, out: &mut String) {
    if line.chars().count() <= TEXT_COLUMNS {
        out.push_str(line);
        return;
    }
    let content = line.trim_start_matches(' ');
    let indent = line.len() - content.len();
    out.push_str(&line[..indent]);

    let rest_indent = indent + FOLD_INDENT;
    let mut column = indent;
    for (at, word) in content.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > TEXT_COLUMNS {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', rest_indent));
            column = rest_indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    const KINDS: [MailKind; 9] = [
        MailKind::InvoiceCreated,
        MailKind::PaymentProcessed,
        MailKind::OrderShipped,
        MailKind::ParcelOutForDelivery,
        MailKind::ParcelAvailableForPickup,
        MailKind::ParcelDelivered,
        MailKind::ParcelReturned,
        MailKind::PaymentRefunded,
        MailKind::OrderCancelled,
    ];

    /// All facts, each with a distinct value.
    fn full(kind: MailKind) -> MailFacts {
        MailFacts {
            kind,
            name: "Lital Hay".into(),
            order_id: Some("order-456".into()),
            invoice_id: Some("invoice-789".into()),
            currency: Some("USD".into()),
            lines: vec![
                line("1234", 2, "50.00", "100.00"),
                line("2345", 1, "99.99", "99.99"),
            ],
            amounts: Some(MailAmounts {
                sub_total: "163.99".into(),
                tax: "36.00".into(),
                total: "199.99".into(),
            }),
            card: Some(MailCard {
                brand: "visa".into(),
                last_digits: "4242".into(),
            }),
            tracking_number: Some("12345678".into()),
            shipping_address: Some("17 boulevard, 123 apt 6 Brooklyn NY".into()),
            refunded_part: None,
            expired: false,
            free: false,
        }
    }

    /// The facts of `POST /api/order/email.json` as the contract prints it.
    fn minimal(kind: MailKind) -> MailFacts {
        MailFacts {
            order_id: None,
            invoice_id: None,
            currency: None,
            lines: Vec::new(),
            amounts: None,
            card: None,
            tracking_number: None,
            shipping_address: None,
            ..full(kind)
        }
    }

    /// The same value in every field that takes one.
    fn filled_with(kind: MailKind, value: &str) -> MailFacts {
        let some = || Some(value.to_owned());
        MailFacts {
            kind,
            name: value.into(),
            order_id: some(),
            invoice_id: some(),
            currency: some(),
            lines: vec![line(value, 1, value, value)],
            amounts: Some(MailAmounts {
                sub_total: value.into(),
                tax: value.into(),
                total: value.into(),
            }),
            card: Some(MailCard {
                brand: value.into(),
                last_digits: value.into(),
            }),
            tracking_number: some(),
            shipping_address: some(),
            refunded_part: None,
            expired: false,
            free: false,
        }
    }

    fn line(product_id: &str, quantity: u32, price: &str, total: &str) -> MailLine {
        MailLine {
            product_id: product_id.into(),
            quantity,
            price: price.into(),
            total: total.into(),
        }
    }

    #[track_caller]
    fn rendered(facts: &MailFacts) -> Mail {
        render(facts).expect("the templates render")
    }

    /// Subject and plain text.
    fn subject_and_text(mail: &Mail) -> String {
        format!("Subject: {}\n\n{}", mail.subject, mail.text)
    }

    #[test]
    fn every_mail_has_its_text() {
        for kind in KINDS {
            for (known, facts) in [("full", full(kind)), ("minimal", minimal(kind))] {
                let mail = rendered(&facts);
                let shown = format!("{}\n{}", subject_and_text(&mail), mail.html);
                insta::assert_snapshot!(format!("{kind:?}_{known}"), shown);
            }
        }
    }

    /// The lines of `before` that are missing in `after`, and the lines of `after` that are missing
    /// in `before`.
    fn changed_lines(before: &str, after: &str) -> String {
        let mut changed = String::new();
        for (sign, lines, others) in [('-', before, after), ('+', after, before)] {
            let others: Vec<&str> = others.lines().collect();
            for line in lines.lines().filter(|line| !others.contains(line)) {
                writeln!(changed, "{sign} {line}").expect("a string takes any text");
            }
        }
        changed
    }

    /// A titled change to the mail with all facts.
    type Change = (&'static str, fn(&mut MailFacts));

    #[test]
    fn every_mail_has_its_text_when_one_fact_differs() {
        let changes: [Change; 11] = [
            ("without a name", |facts| facts.name.clear()),
            ("without an order", |facts| facts.order_id = None),
            ("without an invoice", |facts| facts.invoice_id = None),
            ("without a currency", |facts| facts.currency = None),
            ("without lines", |facts| facts.lines.clear()),
            ("without amounts", |facts| facts.amounts = None),
            ("without a card", |facts| facts.card = None),
            ("without a number", |facts| facts.tracking_number = None),
            ("without an address", |facts| facts.shipping_address = None),
            ("expired", |facts| facts.expired = true),
            ("free", |facts| facts.free = true),
        ];
        let mut shown = String::new();
        for kind in KINDS {
            let before = subject_and_text(&rendered(&full(kind)));
            for (title, change) in changes {
                let mut facts = full(kind);
                change(&mut facts);
                let after = subject_and_text(&rendered(&facts));
                let lines = changed_lines(&before, &after);
                writeln!(shown, "## {kind:?} {title}\n\n{lines}").expect("a string takes any text");
            }
        }
        insta::assert_snapshot!(shown);
    }

    /// The visible text of the HTML, in one line: without head, preheader, and tags.
    fn visible(html: &str) -> String {
        let body = html
            .split_once("<div role=\"article\"")
            .expect("the mail has a body")
            .1;
        let mut text = String::new();
        for part in body.split('<').skip(1) {
            text.push(' ');
            text.push_str(part.split_once('>').expect("a tag ends").1);
        }
        inline(&text)
    }

    #[test]
    fn no_value_of_any_field_becomes_markup_in_html() {
        let attack = "\"><script>alert('x')</script><!-- {{ 7*7 }} &amp; <img src=x>";
        for kind in KINDS {
            let mail = rendered(&filled_with(kind, attack));
            let benign = rendered(&filled_with(kind, "x"));
            for mark in ["<", ">", "\"", "'"] {
                assert_eq!(
                    mail.html.matches(mark).count(),
                    benign.html.matches(mark).count(),
                    "{kind:?} lets {mark} through"
                );
            }
            assert!(mail.html.contains("&#60;script&#62;"), "{kind:?}");
            assert!(mail.html.contains("{{ 7*7 }}"), "{kind:?}");
            assert!(mail.html.contains("&#38;amp;"), "{kind:?}");
        }
    }

    #[test]
    fn plain_text_shows_values_as_they_are_without_html_escapes() {
        let mut facts = full(MailKind::OrderShipped);
        facts.shipping_address = Some("O'Hara & Sons <rear door>".into());
        let mail = rendered(&facts);
        assert!(mail.text.contains("Ships to: O'Hara & Sons <rear door>\n"));
    }

    #[test]
    fn every_kind_shows_lines_and_amounts_with_their_currency() {
        for kind in KINDS {
            let mail = rendered(&full(kind));
            let html = visible(&mail.html);
            assert!(
                html.contains("1234 2 &times; 50.00 USD 100.00 USD"),
                "{html}"
            );
            assert!(
                html.contains("2345 1 &times; 99.99 USD 99.99 USD"),
                "{html}"
            );
            assert!(
                html.contains("Subtotal before tax 163.99 USD Tax 36.00 USD Total"),
                "{html}"
            );
            assert!(html.contains(" 199.99 USD"), "{html}");

            assert!(
                mail.text.contains(
                    "\nItems:\n  - 1234\n    2 x 50.00 USD = 100.00 USD\n  - 2345\n    \
                     1 x 99.99 USD = 99.99 USD\n\nSubtotal before tax: 163.99 USD\n\
                     Tax: 36.00 USD\nTotal"
                ),
                "{}",
                mail.text
            );
            assert!(mail.text.contains(": 199.99 USD\n"), "{}", mail.text);
        }
    }

    #[test]
    fn amounts_without_lines_and_lines_without_amounts_are_shown_alone() {
        for kind in KINDS {
            let mut amounts_only = full(kind);
            amounts_only.lines.clear();
            let mail = rendered(&amounts_only);
            assert!(visible(&mail.html).contains("199.99 USD"));
            assert!(!visible(&mail.html).contains("Item"));
            assert!(!mail.text.contains("Items:"));

            let mut lines_only = full(kind);
            lines_only.amounts = None;
            let mail = rendered(&lines_only);
            assert!(visible(&mail.html).contains("2345"));
            assert!(!visible(&mail.html).contains("Subtotal"));
            assert!(!mail.text.contains("Total"));
        }
    }

    #[test]
    fn amounts_without_a_currency_are_bare_numbers() {
        let mut facts = full(MailKind::InvoiceCreated);
        facts.currency = None;
        let mail = rendered(&facts);
        assert!(mail.text.contains("Total: 199.99\n"), "{}", mail.text);
    }

    #[test]
    fn minimal_facts_give_a_complete_mail_with_nothing_empty_in_it() {
        for kind in KINDS {
            let mail = rendered(&minimal(kind));
            assert!(visible(&mail.html).contains("Hello Lital Hay ,"));
            assert!(mail.text.starts_with("Hello Lital Hay,\n\n"));
            for part in [&mail.subject, &mail.html, &mail.text] {
                assert!(!part.contains("None"), "{kind:?}: {part}");
                assert!(!part.contains("Some("), "{kind:?}: {part}");
            }
            for empty in ["\"></p>", "\"></td>", "\"></h1>", "<bdi></bdi>", "<th"] {
                assert!(!mail.html.contains(empty), "{kind:?} has {empty}");
            }
            assert!(!mail.text.contains(":\n"), "{kind:?}: {}", mail.text);
        }
    }

    #[test]
    fn a_blank_value_counts_as_not_known() {
        for kind in KINDS {
            let mut blank = filled_with(kind, " \r\n\u{200b}\t\u{3164}\u{2800}\u{e0041}");
            blank.lines.clear();
            blank.amounts = None;
            let mut nothing = minimal(kind);
            nothing.name = String::new();
            assert_eq!(rendered(&blank), rendered(&nothing), "{kind:?}");
            assert!(rendered(&blank).text.starts_with("Hello,\n"), "{kind:?}");
        }
    }

    #[test]
    fn plain_text_has_no_gaps_or_trailing_spaces_whatever_is_known() {
        for kind in KINDS {
            for facts in [full(kind), minimal(kind), filled_with(kind, "a b\n")] {
                let text = rendered(&facts).text;
                assert!(!text.contains("\n\n\n"), "{text}");
                assert!(text.ends_with("order.\n"), "{text}");
                assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
            }
        }
    }

    #[test]
    fn a_subject_cannot_carry_another_header() {
        for line_break in ["\r\n", "\n", "\r", "\u{85}", "\u{2028}", "\u{b}", "\0"] {
            for kind in KINDS {
                let attack = format!("1{line_break}Bcc: all@shop.test{line_break}{line_break}Buy");
                let subject = rendered(&filled_with(kind, &attack)).subject;
                assert!(!subject.contains(char::is_control), "{subject:?}");
                assert!(!subject.contains(['\u{2028}', '\u{2029}']), "{subject:?}");
                assert!(
                    subject.starts_with("Your ") || subject.starts_with("We "),
                    "{subject}"
                );
            }
        }
    }

    #[test]
    fn a_subject_is_bounded_and_keeps_the_longest_id_that_the_api_accepts() {
        for kind in KINDS {
            let subject = rendered(&filled_with(kind, &"é".repeat(5000))).subject;
            assert_eq!(subject.chars().count(), SUBJECT_MAX);
            assert!(subject.ends_with('…'));

            let id = "7".repeat(64);
            let subject = rendered(&filled_with(kind, &id)).subject;
            assert!(subject.contains(&id), "{subject}");
        }
    }

    #[test]
    fn no_value_starts_a_line_of_its_own_in_plain_text() {
        for line_break in [
            "\r\n", "\n", "\r", "\u{85}", "\u{2028}", "\u{2029}", "\u{b}", "\u{c}",
        ] {
            for kind in KINDS {
                let attack = format!("1{line_break}{line_break}Total: 0{line_break}");
                let forged = rendered(&filled_with(kind, &attack)).text;
                let honest = rendered(&filled_with(kind, "1 Total: 0")).text;
                assert_eq!(forged, honest, "{kind:?} {line_break:?}");
            }
        }
    }

    #[test]
    fn the_rest_of_a_folded_value_is_set_deeper_than_any_line_of_ours() {
        let mut facts = full(MailKind::InvoiceCreated);
        // Long enough to fold, with the forged line at every possible fold.
        facts.shipping_address = Some("Total: 0.00 ".repeat(40));
        facts.lines[0].product_id = "Total: 0.00 ".repeat(40);
        let text = rendered(&facts).text;
        let ours = text
            .lines()
            .filter(|line| line.trim_start().starts_with("Total:"));
        let (deep, shallow): (Vec<_>, Vec<_>) = ours.partition(|line| line.starts_with("      "));
        assert!(!deep.is_empty());
        assert_eq!(shallow, ["Total: 199.99 USD"]);
    }

    #[test]
    fn plain_text_keeps_to_78_columns_and_breaks_no_word() {
        for kind in KINDS {
            let mut facts = full(kind);
            facts.name = "Maximiliana Alexandrovna ".repeat(20);
            facts.shipping_address = Some("Long Street Name 17, ".repeat(24));
            facts.tracking_number = Some("9".repeat(64));
            facts.lines[0].product_id = "p".repeat(64);
            let text = rendered(&facts).text;
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(TEXT_COLUMNS), "{text}");
            assert!(text.contains(&"p".repeat(64)), "{text}");
        }

        let mut facts = full(MailKind::InvoiceCreated);
        facts.shipping_address = Some("A".repeat(500));
        assert!(rendered(&facts).text.contains(&"A".repeat(500)));
    }

    #[test]
    fn each_kind_names_its_own_facts_and_no_others() {
        let own = |kind| -> (&[&str], &[&str]) {
            match kind {
                MailKind::InvoiceCreated => (
                    &[
                        "Your invoice is ready",
                        "invoice-789",
                        "order-456",
                        "17 boulevard",
                        "Total",
                    ],
                    &["4242", "12345678", "Total paid"],
                ),
                MailKind::PaymentProcessed => (
                    &[
                        "We received your payment",
                        "Visa ending in 4242",
                        "invoice-789",
                        "order-456",
                        "Total paid",
                    ],
                    &["12345678", "17 boulevard"],
                ),
                MailKind::OrderShipped => (
                    &[
                        "Your order is on its way",
                        "12345678",
                        "order-456",
                        "17 boulevard",
                    ],
                    &["4242", "invoice-789"],
                ),
                MailKind::ParcelOutForDelivery => (
                    &[
                        "Your order is out for delivery",
                        "12345678",
                        "order-456",
                        "Ships to",
                        "17 boulevard",
                    ],
                    &["4242", "invoice-789", "on its way"],
                ),
                MailKind::ParcelAvailableForPickup => (
                    &["Your order is ready for pickup", "12345678", "order-456"],
                    &["4242", "invoice-789", "17 boulevard", "on its way"],
                ),
                MailKind::ParcelDelivered => (
                    &[
                        "Your order was delivered",
                        "12345678",
                        "order-456",
                        "Shipped to",
                        "17 boulevard",
                    ],
                    &["4242", "invoice-789", "on its way"],
                ),
                MailKind::ParcelReturned => (
                    &[
                        "Your order is being returned to us",
                        "12345678",
                        "order-456",
                    ],
                    &["4242", "invoice-789", "17 boulevard", "on its way"],
                ),
                MailKind::PaymentRefunded => (
                    &[
                        "Your refund is on its way",
                        "Visa ending in 4242",
                        "invoice-789",
                        "order-456",
                        "Total refunded",
                    ],
                    &["12345678", "17 boulevard"],
                ),
                MailKind::OrderCancelled => (
                    &[
                        "Your order is cancelled",
                        "order-456",
                        "invoice-789",
                        "Total",
                    ],
                    &["4242", "12345678", "17 boulevard", "Total paid"],
                ),
            }
        };
        for kind in KINDS {
            let mail = rendered(&full(kind));
            let (shown, hidden) = own(kind);
            for part in [visible(&mail.html), mail.text] {
                for fact in shown {
                    assert!(part.contains(fact), "{kind:?} misses {fact}: {part}");
                }
                for fact in hidden {
                    assert!(!part.contains(fact), "{kind:?} shows {fact}: {part}");
                }
            }
        }
    }

    #[test]
    fn a_cancellation_says_so_if_the_order_was_not_paid() {
        for expired in [true, false] {
            let mail = rendered(&MailFacts {
                expired,
                ..full(MailKind::OrderCancelled)
            });
            for text in [mail.html, mail.text] {
                assert_eq!(
                    text.contains("because it was not paid in time"),
                    expired,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn each_subject_names_the_event_and_the_order_if_it_is_known() {
        let subjects =
            |facts: fn(MailKind) -> MailFacts| KINDS.map(|kind| rendered(&facts(kind)).subject);
        assert_eq!(
            subjects(full),
            [
                "Your invoice for order order-456",
                "We received your payment for order order-456",
                "Your order order-456 is on its way",
                "Your order order-456 is out for delivery",
                "Your order order-456 is ready for pickup",
                "Your order order-456 was delivered",
                "Your order order-456 is being returned to us",
                "Your refund for order order-456 is on its way",
                "Your order order-456 is cancelled",
            ]
        );
        assert_eq!(
            subjects(|kind| MailFacts {
                order_id: None,
                ..full(kind)
            }),
            [
                "Your invoice invoice-789",
                "We received your payment for invoice invoice-789",
                "Your order is on its way",
                "Your order is out for delivery",
                "Your order is ready for pickup",
                "Your order was delivered",
                "Your order is being returned to us",
                "Your refund for invoice invoice-789 is on its way",
                "Your order is cancelled",
            ]
        );
        assert_eq!(
            subjects(minimal),
            [
                "Your invoice is ready",
                "We received your payment",
                "Your order is on its way",
                "Your order is out for delivery",
                "Your order is ready for pickup",
                "Your order was delivered",
                "Your order is being returned to us",
                "Your refund is on its way",
                "Your order is cancelled",
            ]
        );
    }

    #[test]
    fn never_more_than_four_digits_of_a_card_are_shown() {
        let mut facts = full(MailKind::PaymentProcessed);
        facts.card = Some(MailCard {
            brand: String::new(),
            last_digits: "4000056655665556".into(),
        });
        let mail = rendered(&facts);
        for part in [mail.html, mail.text] {
            assert!(part.contains("Card ending in 5556"), "{part}");
            assert!(!part.contains("65556"), "{part}");
        }
    }

    /// The words that a mail client could turn into a link; a superset of what any client detects.
    /// Clients look for a scheme, a mail address, or a host with a dot (Gmail, Outlook, and Apple
    /// Mail also without `www.`), and Outlook for a server name after two backslashes. No client
    /// looks past white space.
    fn links(text: &str) -> Vec<&str> {
        text.split_whitespace()
            .filter(|word| is_link(word))
            .collect()
    }

    fn is_link(word: &str) -> bool {
        let is_bare = |c: char| !c.is_alphanumeric();
        let followed = |sign: fn(char) -> bool| {
            let mut rest = word.chars().skip_while(move |c| !sign(*c)).skip(1);
            rest.any(char::is_alphanumeric)
        };
        let between = |sign: fn(char) -> bool| {
            let parts: Vec<&str> = word.split(sign).collect();
            parts.windows(2).any(|pair| {
                !pair[0].trim_matches(is_bare).is_empty()
                    && !pair[1].trim_matches(is_bare).is_empty()
            })
        };
        if is_decimal(word.trim_matches(is_bare)) {
            return false;
        }
        between(is_dot) || followed(is_at) || between(is_colon) || {
            let slashes: Vec<bool> = word.chars().map(is_slash).collect();
            slashes.windows(2).any(|pair| pair == [true, true])
        }
    }

    #[track_caller]
    fn assert_no_links(mail: &Mail, about: &str) {
        let title = mail.html.split_once("<title>").expect("a title").1;
        let title = title.split_once("</title>").expect("a title ends").0;
        let html = visible(&mail.html).replace("&times;", "x");
        for part in [&mail.subject[..], title, &html, &mail.text] {
            assert_eq!(links(part), Vec::<&str>::new(), "{about}: {part}");
        }
        assert!(!mail.html.contains("href"), "{about}");
    }

    #[test]
    fn no_value_becomes_a_link() {
        for value in [
            "https://evil.example/x?y=1#z",
            "hxxps://evil",
            "//evil",
            "\\\\server\\share",
            "www.evil.example",
            "evil.example",
            "EVIL.EXAMPLE/path",
            "evil。example",
            "evil．example",
            "evil｡example",
            "evil․example",
            "bücher.example",
            "xn--bcher-kva.example",
            "例え.テスト",
            "mailto:a@evil.example",
            "a@evil.example",
            "a＠evil.example",
            "tel:+15551234567",
            "javascript:alert(1)",
            "192.0.2.1",
            "[2001:db8::1]",
            "localhost:8080",
            "(evil.example)",
            "buy,evil.example,now",
            "evil\u{2060}.\u{200b}example",
            "evil.\u{ad}example",
            "evil.\u{200d}example",
            "1.2.example",
        ] {
            assert!(
                is_link(&inline(value)) || value.contains('\u{200d}'),
                "the test knows {value}"
            );
            for kind in KINDS {
                assert_no_links(&rendered(&filled_with(kind, value)), value);
            }
        }
    }

    #[test]
    fn no_text_of_ours_becomes_a_link() {
        for kind in KINDS {
            assert_no_links(&rendered(&full(kind)), "full");
            assert_no_links(&rendered(&minimal(kind)), "minimal");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_value_holds_it_becomes_no_link(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "example", "com", "www", "http", "mailto", "1", "-", ".", "。", "．", "｡", "․", "…",
                    ":", "：", "/", "\\", "@", "＠", " ", "\t", "\u{200b}", "\u{2060}", "\u{200d}", "(", ")", "ü",
                ]),
                1..12,
            ),
            kind in proptest::sample::select(KINDS.to_vec()),
        ) {
            let value = parts.concat();
            assert_no_links(&rendered(&filled_with(kind, &value)), &value);
        }
    }

    #[test]
    fn what_is_no_address_stays_as_it_is() {
        for value in [
            "12.50",
            "17 boulevard, 123 apt. 6",
            "Dr. Hay",
            "No. 5",
            "2345",
            "A-1",
        ] {
            assert_eq!(shown(value), value);
        }
        assert_eq!(shown("J.R. Hay"), "J.\u{200a}R. Hay");
        assert_eq!(shown("evil.example"), "evil.\u{200a}example");
    }

    #[test]
    fn a_name_that_is_a_web_address_or_an_essay_is_not_passed_on() {
        for name in [
            "Win at https://evil.test",
            "www.evil.test",
            "evil。test",
            "evil@test",
            "You won! evil.test/x",
        ] {
            let mut facts = minimal(MailKind::OrderShipped);
            facts.name = name.into();
            let mail = rendered(&facts);
            assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
            assert!(!mail.html.contains("evil"), "{name}");
        }
        for name in [
            "J. R. Hay",
            "Dr. Hay",
            "Hay, Lital jr.",
            "ליטל חי",
            "D'Arcy-Hay",
        ] {
            assert_eq!(greeting_name(name).as_deref(), Some(name));
        }
        let cut = greeting_name(&"a".repeat(500)).expect("a long name is cut, not dropped");
        assert_eq!(cut.chars().count(), NAME_MAX);
    }

    #[test]
    fn characters_that_reorder_or_hide_text_are_dropped() {
        assert_eq!(inline("12\u{202e}43\u{200b}\u{2066}5\u{feff}"), "12435");
    }

    #[test]
    fn the_longest_order_stays_below_the_size_at_which_gmail_cuts_a_mail_off() {
        for kind in KINDS {
            let mut facts = full(kind);
            facts.lines = vec![
                line(
                    &"p".repeat(64),
                    10_000,
                    "1000000000.00",
                    "10000000000000.00"
                );
                100
            ];
            let size = rendered(&facts).html.len();
            assert!(size < 102 * 1024, "{kind:?}: {size} bytes");
        }
    }

    #[test]
    fn html_loads_nothing_and_links_nowhere() {
        for kind in KINDS {
            let html = rendered(&full(kind)).html;
            for reference in ["<img", "<a ", "href", "src=", "url(", "http"] {
                assert!(!html.contains(reference), "{kind:?} has {reference}");
            }
        }
    }

    #[test]
    fn html_is_readable_by_screen_readers_on_phones_and_in_the_dark() {
        for kind in KINDS {
            let html = rendered(&full(kind)).html;
            for part in [
                "<html lang=\"en\">",
                "name=\"viewport\"",
                "name=\"color-scheme\" content=\"light dark\"",
                "max-width:600px",
            ] {
                assert!(html.contains(part), "{kind:?} misses {part}");
            }
            // Only the table of the order's lines contains data; every other one is marked as
            // layout.
            let tables = html.matches("<table ").count();
            let layout = html.matches("<table role=\"presentation\"").count();
            assert_eq!(tables, layout + 1, "{kind:?}");
            // Skip the preheader (1 px).
            let read = html
                .split_once("<div role=\"article\"")
                .expect("the mail has a body")
                .1;
            for small in ["10px", "11px", "12px", "13px"] {
                assert!(!read.contains(&format!("font:{small}")), "{kind:?}");
                assert!(!read.contains(&format!("font-size:{small}")), "{kind:?}");
            }
        }
    }
}
