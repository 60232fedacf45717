//! PayPal's JSON: the bodies that it is sent, and the parts of its answers that are read. Fields
//! that are not named here are ignored.

use domain::{
    Card, ChargeLimits, Currency, InvoiceId, Money, NextAction, PartnerName, PartnerToken,
    RefundId, RefundName, Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The kind of payment source that the customer's token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Card,
    Wallet,
    BillingAgreement,
}

impl Source {
    /// The kinds that the token can belong to. Tokens of cards and wallets look alike: PayPal
    /// reports a wrong kind, and does nothing then.
    pub(super) fn candidates(token: &PartnerToken) -> &'static [Self] {
        if token.as_str().starts_with("B-") {
            &[Self::BillingAgreement]
        } else {
            &[Self::Card, Self::Wallet]
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Wallet => "wallet",
            Self::BillingAgreement => "agreement",
        }
    }

    /// The payment source of a charge that the shop initiates and the customer has agreed to.
    pub(super) fn body(self, token: &PartnerToken) -> Value {
        let token = token.as_str();
        match self {
            Self::Card => json!({"card": {
                "vault_id": token,
                "stored_credential": {
                    "payment_initiator": "MERCHANT",
                    "payment_type": "UNSCHEDULED",
                    "usage": "SUBSEQUENT",
                },
            }}),
            Self::Wallet => json!({"paypal": {
                "vault_id": token,
                "stored_credential": {
                    "payment_initiator": "MERCHANT",
                    "usage": "SUBSEQUENT",
                    "usage_pattern": "IMMEDIATE",
                },
            }}),
            Self::BillingAgreement => {
                json!({"token": {"id": token, "type": "BILLING_AGREEMENT"}})
            }
        }
    }
}

/// An amount in PayPal's format: `36.00`, or `3600` in a currency without decimals. `None` if
/// PayPal does not support the amount.
pub(super) fn amount_text(amount: Money, currency: Currency) -> Option<String> {
    let limits = ChargeLimits::of(Some(PartnerName::PayPal), currency).ok()?;
    let is_fit = limits.unit().divides(amount) && amount <= limits.maximum();
    let mut value = amount.decimal();
    value.rescale(limits.sent_decimals());
    is_fit.then(|| value.to_string())
}

/// An order (`order`, Orders v2).
#[derive(Deserialize)]
pub(super) struct WireOrder {
    pub(super) id: String,
    pub(super) status: String,
    #[serde(default)]
    purchase_units: Vec<PurchaseUnit>,
    payment_source: Option<PaymentSource>,
    #[serde(default)]
    links: Vec<Link>,
}

/// A link (`link_description`).
#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    rel: String,
    #[serde(default)]
    href: String,
}

#[derive(Deserialize)]
struct PurchaseUnit {
    payments: Option<Payments>,
}

#[derive(Deserialize)]
struct Payments {
    #[serde(default)]
    captures: Vec<WireCapture>,
    #[serde(default)]
    refunds: Vec<WireRefund>,
}

/// A capture (`capture`).
#[derive(Deserialize)]
pub(super) struct WireCapture {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) processor_response: Option<ProcessorResponse>,
    amount: Option<WireAmount>,
    status_details: Option<StatusDetails>,
}

/// Why a capture has its status (`capture_status_details`).
#[derive(Deserialize)]
struct StatusDetails {
    reason: Option<String>,
}

impl WireCapture {
    /// Whether it is of this amount, as far as PayPal shows its amount.
    pub(super) fn is_of(&self, amount: Money, currency: Currency) -> bool {
        self.amount.as_ref().is_none_or(|shown| {
            let code = shown.currency_code.as_deref();
            code.is_none_or(|code| code == currency.code())
                && Money::from_stored(&shown.value).is_ok_and(|shown| shown == amount)
        })
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.status_details.as_ref()?.reason.as_deref()
    }
}

/// The answer of the card's issuer (`processor_response`).
#[derive(Deserialize)]
pub(super) struct ProcessorResponse {
    pub(super) response_code: Option<String>,
    pub(super) payment_advice_code: Option<String>,
}

/// A refund (`refund`).
#[derive(Deserialize)]
pub(super) struct WireRefund {
    pub(super) id: String,
    pub(super) status: String,
    /// The name of a partial refund.
    invoice_id: Option<String>,
    amount: Option<WireAmount>,
}

#[derive(Deserialize)]
struct WireAmount {
    currency_code: Option<String>,
    value: String,
}

impl WireRefund {
    /// The name that this service gave it, or PayPal's ID.
    pub(super) fn name(&self) -> RefundName {
        let ours = self.invoice_id.as_deref();
        let ours = ours.and_then(|id| RefundId::parse(id).ok());
        ours.map_or_else(|| RefundName::Partners(self.id.clone()), RefundName::Ours)
    }

    /// The amount, if PayPal shows it.
    pub(super) fn amount(&self) -> Option<Money> {
        Money::from_stored(&self.amount.as_ref()?.value).ok()
    }
}

#[derive(Deserialize)]
struct PaymentSource {
    card: Option<WireCard>,
}

#[derive(Deserialize)]
struct WireCard {
    name: Option<String>,
    last_digits: Option<String>,
    brand: Option<String>,
    expiry: Option<String>,
}

impl WireOrder {
    /// All captures. At most one of them takes money.
    pub(super) fn captures(&self) -> impl Iterator<Item = &WireCapture> {
        self.payments().flat_map(|payments| &payments.captures)
    }

    /// All refunds of its captures.
    pub(super) fn refunds(&self) -> impl Iterator<Item = &WireRefund> {
        self.payments().flat_map(|payments| &payments.refunds)
    }

    fn payments(&self) -> impl Iterator<Item = &Payments> {
        let units = self.purchase_units.iter();
        units.filter_map(|unit| unit.payments.as_ref())
    }

    /// The page where the payer acts: for 3-D Secure and the like, or else for the approval.
    pub(super) fn next_action(&self) -> NextAction {
        let link = |rel: &str| self.links.iter().find(|link| link.rel == rel);
        let link = link("payer-action").or_else(|| link("approve"));
        NextAction {
            redirect_url: link.and_then(|link| link.href.parse().ok()),
            client_secret: None,
        }
    }

    /// The charged card. For a wallet, all fields are `None`.
    pub(super) fn card(&self) -> Card {
        let source = self.payment_source.as_ref();
        source
            .and_then(|source| source.card.as_ref())
            .map(WireCard::facts)
            .unwrap_or_default()
    }
}

impl WireCard {
    fn facts(&self) -> Card {
        let name = self.name.as_deref().map(str::trim).unwrap_or_default();
        let (first, last) = match name.rsplit_once(char::is_whitespace) {
            Some((first, last)) => (first.trim_end(), last),
            None => (name, ""),
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let expiry = self.expiry.as_deref().and_then(|text| text.split_once('-'));
        let (year, month) = expiry.unwrap_or_default();
        Card {
            first_name: some(first),
            last_name: some(last),
            first_digits: None,
            last_digits: self.last_digits.clone(),
            brand: self.brand.as_deref().map(str::to_ascii_lowercase),
            expiry_month: month.parse().ok().filter(|month| (1..=12).contains(month)),
            expiry_year: year.parse().ok(),
        }
    }
}

/// A dispute (`dispute`, Disputes v1).
#[derive(Deserialize)]
pub(super) struct WireDispute {
    pub(super) status: String,
    update_time: Option<String>,
    dispute_amount: Option<WireAmount>,
    dispute_outcome: Option<DisputeOutcome>,
    #[serde(default)]
    disputed_transactions: Vec<DisputedTransaction>,
}

#[derive(Deserialize)]
struct DisputeOutcome {
    outcome_code: Option<String>,
    /// What the customer got, such as an accepted offer of a part.
    amount_refunded: Option<WireAmount>,
}

#[derive(Deserialize)]
struct DisputedTransaction {
    /// The capture's ID.
    seller_transaction_id: Option<String>,
}

impl WireDispute {
    /// When it was last changed; `None` if that is not a valid time.
    pub(super) fn updated(&self) -> Option<Timestamp> {
        Timestamp::parse(self.update_time.as_deref()?).ok()
    }

    /// The code of its outcome, if it has one.
    pub(super) fn outcome(&self) -> Option<&str> {
        self.dispute_outcome.as_ref()?.outcome_code.as_deref()
    }

    /// The amount that the customer got; without an outcome, the disputed amount.
    pub(super) fn amount(&self) -> Money {
        let outcome = self.dispute_outcome.as_ref();
        let refunded = outcome.and_then(|outcome| outcome.amount_refunded.as_ref());
        let amount = refunded.or(self.dispute_amount.as_ref());
        let amount = amount.and_then(|amount| Money::from_stored(&amount.value).ok());
        amount.unwrap_or(Money::ZERO)
    }

    /// The disputed capture: one of our charges is a single transaction.
    pub(super) fn capture(&self) -> Option<&str> {
        let transaction = self.disputed_transactions.first()?;
        transaction.seller_transaction_id.as_deref()
    }
}

/// The parts of a capture that identify our charge (`capture`, Payments v2).
#[derive(Deserialize)]
pub(super) struct DisputedCapture {
    custom_id: Option<String>,
    supplementary_data: Option<SupplementaryData>,
}

#[derive(Deserialize)]
struct SupplementaryData {
    related_ids: Option<RelatedIds>,
}

#[derive(Deserialize)]
struct RelatedIds {
    order_id: Option<String>,
}

impl DisputedCapture {
    /// The paid invoice and PayPal's order; `None` if this service did not open it.
    pub(super) fn charge(self) -> Option<(InvoiceId, String)> {
        let invoice = InvoiceId::parse(self.custom_id.as_deref()?).ok()?;
        let order = self.supplementary_data?.related_ids?.order_id?;
        Some((invoice, order))
    }
}

/// The reason of a refused call (`error`).
#[derive(Deserialize)]
pub(super) struct Problem {
    name: Option<String>,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    issue: Option<String>,
    field: Option<String>,
}

impl Problem {
    /// The machine-readable code of the problem: `details[0].issue`, or the problem's own name if
    /// it has no details.
    pub(super) fn issue(&self) -> Option<&str> {
        let issue = self.details.first().and_then(|each| each.issue.as_deref());
        issue.or(self.name.as_deref())
    }

    /// Whether the problem is the payment source.
    pub(super) fn is_about_the_source(&self) -> bool {
        let field = self.details.first().and_then(|each| each.field.as_deref());
        field.is_some_and(|field| field.contains("payment_source"))
    }
}

/// An access token (OAuth 2.0, RFC 6749, section 5.1).
#[derive(Deserialize)]
pub(super) struct WireToken {
    pub(super) access_token: String,
    /// In seconds.
    pub(super) expires_in: u64,
}
