//! The parts of Stripe's answers that are read. A status that is not listed here makes an answer
//! unreadable, and an unreadable answer is an unknown outcome, never a decline.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use domain::{Card, ClientSecret, DisputeState, Money, NextAction, OrderId, RefundId, RefundName};
use partner::{Alphabet, sanitize};
use platform::json;

use super::Disputed;
use super::amount::from_minor_units;

/// A code of Stripe's. Free text becomes `unrecognised`, so that it appears in no log, order, or
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    pub(super) fn new(text: &str) -> Self {
        let code = sanitize(text, Alphabet::LowerSnake);
        Self(code.unwrap_or("unrecognised").to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// The status of a `PaymentIntent` ("The `PaymentIntent` object", `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentStatus {
    Canceled,
    Processing,
    RequiresAction,
    RequiresCapture,
    RequiresConfirmation,
    RequiresPaymentMethod,
    Succeeded,
}

/// The status in an unreadable answer, if it has one, for the log.
pub(super) fn told_status(body: &[u8]) -> Option<Code> {
    #[derive(Deserialize)]
    struct Told {
        status: Code,
    }
    let told: Told = json::read(body).ok()?;
    Some(told.status)
}

/// A `PaymentIntent`.
#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: IntentStatus,
    #[serde(default)]
    pub(super) last_payment_error: Option<ErrorObject>,
    #[serde(default)]
    client_secret: Option<Unprinted>,
    #[serde(default)]
    next_action: Option<WireAction>,
    /// An ID, or the charge itself if the request expanded it.
    #[serde(default)]
    latest_charge: Option<Box<RawValue>>,
}

/// A text that is never logged.
#[derive(Deserialize)]
#[serde(transparent)]
struct Unprinted(String);

impl fmt::Debug for Unprinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unprinted")
    }
}

/// The customer's action (`next_action`). Of all its types, only a redirect needs no library.
#[derive(Debug, Deserialize)]
struct WireAction {
    #[serde(default)]
    redirect_to_url: Option<WireRedirect>,
}

#[derive(Debug, Deserialize)]
struct WireRedirect {
    #[serde(default)]
    url: Option<Unprinted>,
}

impl Intent {
    /// The action that the customer must take, while the intent waits for it. The client secret
    /// confirms it in Stripe's library, even if the bank has refused it without the customer.
    pub(super) fn next_action(&self) -> NextAction {
        let redirect = self.next_action.as_ref();
        let redirect = redirect.and_then(|action| action.redirect_to_url.as_ref());
        let url = redirect.and_then(|redirect| redirect.url.as_ref());
        let secret = self.client_secret.as_ref();
        NextAction {
            redirect_url: url.and_then(|url| url.0.parse().ok()),
            client_secret: secret.and_then(|secret| ClientSecret::parse(&secret.0)),
        }
    }

    /// The charged card, as far as the answer describes it. Captured money counts, whatever the
    /// answer says about the card.
    pub(super) fn card(&self) -> Card {
        self.latest_charge
            .as_deref()
            .and_then(|charge| serde_json::from_str::<ChargeObject>(charge.get()).ok())
            .map(ChargeObject::into_card)
            .unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
struct ChargeObject {
    #[serde(default)]
    billing_details: Option<BillingDetails>,
    #[serde(default)]
    payment_method_details: Option<MethodDetails>,
}

#[derive(Debug, Deserialize)]
struct BillingDetails {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MethodDetails {
    #[serde(default)]
    card: Option<CardDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct CardDetails {
    #[serde(default)]
    brand: Option<String>,
    #[serde(default)]
    last4: Option<String>,
    #[serde(default)]
    exp_month: Option<u32>,
    #[serde(default)]
    exp_year: Option<u32>,
    /// Present only if Stripe has enabled it for the account.
    #[serde(default)]
    iin: Option<String>,
}

impl ChargeObject {
    fn into_card(self) -> Card {
        let name = self.billing_details.and_then(|details| details.name);
        let (first_name, last_name) = split_name(name.as_deref().unwrap_or_default());
        let card = self.payment_method_details.and_then(|details| details.card);
        let card = card.unwrap_or_default();
        let brand = card.brand.map(|brand| brand.to_ascii_lowercase());
        Card {
            first_name,
            last_name,
            first_digits: card.iin.as_deref().and_then(|iin| digits(iin.get(..6)?, 6)),
            last_digits: card.last4.as_deref().and_then(|last4| digits(last4, 4)),
            brand: brand.filter(|brand| brand != "unknown"),
            expiry_month: card.exp_month.filter(|month| (1..=12).contains(month)),
            expiry_year: card.exp_year.filter(|year| (1000..=9999).contains(year)),
        }
    }
}

/// The text, if it has that many digits: nothing longer may pass as the end of a card number.
fn digits(text: &str, count: usize) -> Option<String> {
    let fits = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.to_owned())
}

/// Stripe has one field for the holder's name; its first word is used as the first name.
fn split_name(name: &str) -> (Option<String>, Option<String>) {
    let part = |text: &str| {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let name = name.trim();
    let (first, last) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
    (part(first), part(last))
}

/// The status of a refund ("Refund object", `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireRefundStatus {
    Canceled,
    Failed,
    Pending,
    RequiresAction,
    Succeeded,
}

/// A refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    id: String,
    pub(super) amount: u64,
    #[serde(default)]
    metadata: Option<RefundMetadata>,
    pub(super) status: WireRefundStatus,
    #[serde(default)]
    pub(super) failure_reason: Option<Code>,
}

#[derive(Debug, Deserialize)]
struct RefundMetadata {
    #[serde(default)]
    refund_id: Option<String>,
}

impl Refund {
    /// The name that this service gave it, or Stripe's ID.
    pub(super) fn name(&self) -> RefundName {
        let given = self.metadata.as_ref();
        let given = given.and_then(|metadata| metadata.refund_id.as_deref());
        let ours = given.and_then(|id| RefundId::parse(id).ok());
        ours.map_or_else(|| RefundName::Partners(self.id.clone()), RefundName::Ours)
    }
}

/// One page of refunds.
#[derive(Debug, Deserialize)]
pub(super) struct RefundList {
    pub(super) data: Vec<Refund>,
    pub(super) has_more: bool,
}

/// The status of a dispute ("The Dispute object", `status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DisputeStatus {
    Lost,
    NeedsResponse,
    Prevented,
    UnderReview,
    WarningClosed,
    WarningNeedsResponse,
    WarningUnderReview,
    Won,
}

impl DisputeStatus {
    /// The state, given the sum of the dispute's balance transactions. A closed warning took no
    /// money. A prevented dispute did if it was resolved by a refund ("Dispute prevention",
    /// resolution rules).
    fn state(self, moved: i64) -> DisputeState {
        match self {
            Self::Prevented if moved < 0 => DisputeState::Lost,
            Self::NeedsResponse
            | Self::UnderReview
            | Self::WarningNeedsResponse
            | Self::WarningUnderReview => DisputeState::Open,
            Self::Won | Self::WarningClosed | Self::Prevented => DisputeState::Won,
            Self::Lost => DisputeState::Lost,
        }
    }
}

/// A dispute with its expanded intent.
#[derive(Debug, Deserialize)]
pub(super) struct Dispute {
    status: DisputeStatus,
    #[serde(default)]
    amount: u64,
    currency: Option<String>,
    /// The withdrawn and reinstated funds.
    #[serde(default)]
    balance_transactions: Vec<BalanceTransaction>,
    /// Null for a charge that was made without an intent.
    payment_intent: Option<DisputedIntent>,
}

#[derive(Debug, Deserialize)]
struct BalanceTransaction {
    /// Negative if the shop lost money.
    #[serde(default)]
    amount: i64,
}

#[derive(Debug, Deserialize)]
struct DisputedIntent {
    id: String,
    #[serde(default)]
    amount: u64,
    currency: Option<String>,
    metadata: IntentMetadata,
}

#[derive(Debug, Deserialize)]
struct IntentMetadata {
    #[serde(default)]
    order_id: Option<String>,
}

impl Dispute {
    /// `None` if another system has made the charge with this account.
    pub(super) fn into_disputed(self) -> Option<Disputed> {
        let intent = self.payment_intent?;
        let moved = self.balance_transactions.iter();
        let moved = moved.fold(0, |sum: i64, each| sum.saturating_add(each.amount));
        // An amount in another currency than the charge's says nothing about a part of it.
        let amount = if self.currency == intent.currency {
            self.amount
        } else {
            intent.amount
        };
        let currency = intent.currency.as_deref();
        let currency = currency.and_then(|code| code.to_ascii_uppercase().parse().ok());
        let amount = currency.and_then(|currency| from_minor_units(amount, currency));
        Some(Disputed {
            order: OrderId::parse(intent.metadata.order_id.as_deref()?).ok()?,
            reference: intent.id,
            amount: amount.unwrap_or(Money::ZERO),
            state: self.status.state(moved),
            // Stripe reports when a dispute was opened, not when it reached its status.
            at: None,
        })
    }
}

/// The kind of an error ("Errors", `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::enum_variant_names,
    reason = "the names are those on the wire, and serde reads them from here"
)]
pub(super) enum ErrorKind {
    ApiError,
    CardError,
    IdempotencyError,
    InvalidRequestError,
    /// A kind that this program does not know: the status decides.
    #[serde(other)]
    OtherError,
}

/// An error in an answer or in an intent's last attempt. Null members are left out.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorObject {
    #[serde(rename = "type")]
    pub(super) kind: ErrorKind,
    #[serde(default)]
    pub(super) code: Option<Code>,
    #[serde(default)]
    pub(super) decline_code: Option<Code>,
    #[serde(default)]
    pub(super) advice_code: Option<Code>,
    #[serde(default)]
    pub(super) param: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

impl ErrorObject {
    /// Parses the body of an answer that is not a success.
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        json::read::<ErrorBody>(body).ok().map(|body| body.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(charge: &str) -> Card {
        let intent: Intent = serde_json::from_str(&format!(
            r#"{{"id":"pi_1","status":"succeeded","latest_charge":{charge}}}"#
        ))
        .unwrap();
        intent.card()
    }

    #[test]
    fn a_card_is_what_the_charge_says_and_nothing_is_made_up() {
        let full = card(
            r#"{"id":"ch_1","billing_details":{"name":"Jenny Rosen"},"payment_method_details":
            {"card":{"brand":"Visa","last4":"4242","exp_month":8,"exp_year":2030,"iin":"42424242"}}}"#,
        );
        assert_eq!(full.first_name.as_deref(), Some("Jenny"));
        assert_eq!(full.last_name.as_deref(), Some("Rosen"));
        assert_eq!(full.first_digits.as_deref(), Some("424242"));
        assert_eq!(full.last_digits.as_deref(), Some("4242"));
        assert_eq!(full.brand.as_deref(), Some("visa"));
        assert_eq!((full.expiry_month, full.expiry_year), (Some(8), Some(2030)));
        for none in [
            r#""ch_1""#,
            "null",
            r#"{"billing_details":{"name":null}}"#,
            "[7]",
        ] {
            assert_eq!(card(none), Card::default(), "{none}");
        }
    }

    #[test]
    fn a_dispute_stands_as_its_status_says_and_an_unknown_one_makes_it_unreadable() {
        let read = |status: &str, intent: &str| {
            let text = format!(
                r#"{{"id":"du_1","object":"dispute","status":"{status}","payment_intent":{intent}}}"#
            );
            serde_json::from_str::<Dispute>(&text).map(Dispute::into_disputed)
        };
        let order = "ord_01JDB4XK00EXAMP0E0RDER0001";
        let intent = |metadata: &str| format!(r#"{{"id":"pi_1","metadata":{metadata}}}"#);
        let ours = intent(&format!(r#"{{"order_id":"{order}","attempt":"1"}}"#));
        for (status, state) in [
            ("needs_response", DisputeState::Open),
            ("under_review", DisputeState::Open),
            ("warning_needs_response", DisputeState::Open),
            ("warning_under_review", DisputeState::Open),
            ("won", DisputeState::Won),
            ("warning_closed", DisputeState::Won),
            ("prevented", DisputeState::Won),
            ("lost", DisputeState::Lost),
        ] {
            let disputed = read(status, &ours).unwrap().unwrap();
            assert_eq!(disputed.state, state, "{status}");
            assert_eq!(disputed.order.to_string(), order);
            assert_eq!(disputed.reference, "pi_1");
        }
        for (moved, state) in [
            ("[]", DisputeState::Won),
            (r#"[{"amount":-20000}]"#, DisputeState::Lost),
            (r#"[{"amount":-20000},{"amount":20000}]"#, DisputeState::Won),
        ] {
            let text = format!(
                r#"{{"status":"prevented","balance_transactions":{moved},"payment_intent":{ours}}}"#
            );
            let read = serde_json::from_str::<Dispute>(&text).unwrap();
            assert_eq!(read.into_disputed().unwrap().state, state, "{moved}");
        }
        assert!(read("newer", &ours).is_err());
        // Charges that other systems have made with this account, or without an intent.
        for intent in [
            "null".to_owned(),
            intent("{}"),
            intent(r#"{"order_id":"4711"}"#),
        ] {
            assert_eq!(read("lost", &intent).unwrap(), None, "{intent}");
        }
    }

    #[test]
    fn a_whole_card_number_never_passes_for_its_end() {
        let odd = card(r#"{"payment_method_details":{"card":{"last4":"4242424242424242"}}}"#);
        assert_eq!(odd.last_digits, None);
    }

    #[test]
    fn a_name_is_split_after_its_first_word_as_far_as_there_is_one() {
        let name = |first: &str, last: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (given(first), given(last))
        };
        assert_eq!(split_name("Ana de la Cruz"), name("Ana", "de la Cruz"));
        assert_eq!(split_name(" Madonna "), name("Madonna", ""));
        assert_eq!(split_name("  "), name("", ""));
    }

    #[test]
    fn an_unknown_status_makes_an_answer_unreadable_and_an_unknown_error_type_does_not() {
        let read = |text: &str| serde_json::from_str::<Intent>(text).is_ok();
        assert!(read(r#"{"id":"pi_1","status":"requires_capture"}"#));
        let newer = r#"{"id":"pi_1","status":"requires_source"}"#;
        assert!(!read(newer));
        assert_eq!(
            told_status(newer.as_bytes()),
            Some(Code::new("requires_source"))
        );
        assert!(read(
            r#"{"id":"pi_1","status":"requires_payment_method","last_payment_error":{"type":"new"}}"#
        ));
        let newer = ErrorObject::from_body(br#"{"error":{"type":"new_error"}}"#).unwrap();
        assert_eq!(newer.kind, ErrorKind::OtherError);
        assert!(ErrorObject::from_body(br#"{"error":{"type":"card_error"}}"#).is_some());
    }

    #[test]
    fn free_text_in_the_place_of_a_code_is_not_kept() {
        assert_eq!(Code::new("lost_card").as_str(), "lost_card");
        for odd in ["", "Jenny Rosen", "a\nb", &"x".repeat(101)] {
            assert_eq!(Code::new(odd).as_str(), "unrecognised");
        }
    }
}
