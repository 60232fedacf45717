//! Payments through PayPal: the real client against a double that keeps books, on a wire that
//! loses, delays, and garbles.

mod client;
mod double;

use std::sync::Arc;
use std::time::Duration;

use domain::{
    Agreement, CustomerId, Money, NextAction, OrderId, PartnerAccount, PartnerName, PartnerToken,
};
use messages::PartnerReference;
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, PayPal, RefundStatus, ShownRefund,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::Value;
use tests::partners::{DoubleRequest, Front, PayPalDouble, PayPalOutcome};
use tests::{Cloud, Options, Reply};

use crate::contract::{cart, invoice, payment, text};

const PAYMENT: &str = "/api/order/payment.json";
const CARD: &str = "8kk8451t";
const ORDERS: &str = "/v2/checkout/orders";
const MINUTE: Duration = Duration::from_mins(1);

/// The partner for a customer who has an agreement with it.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    paypal: PayPal,
    token: Option<&'static str>,
}

impl Agreed {
    fn request(&self, request: &ChargeRequest) -> ChargeRequest {
        let agreement = self.token.map(|token| Agreement {
            partner: PartnerName::PayPal,
            partner_customer: None,
            payment_method: PartnerToken::parse(token).unwrap(),
        });
        ChargeRequest {
            agreement,
            ..request.clone()
        }
    }

    fn charge(&self, charge: &OpenCharge) -> OpenCharge {
        let request = self.request(&charge.request);
        OpenCharge {
            method: request.method(),
            request,
            ..charge.clone()
        }
    }
}

impl BillingPartner for Agreed {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        self.paypal.open(&self.request(request)).await
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.paypal.confirm(&self.charge(charge)).await
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.paypal.look_up(&self.charge(charge)).await
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        self.paypal.ask_customer(&self.charge(charge)).await
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        self.paypal.refund(&self.charge(charge)).await
    }

    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        self.paypal.refund_part(&self.charge(charge), part).await
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        self.paypal.shown_refunds(&self.charge(charge)).await
    }

    fn name(&self) -> PartnerName {
        self.paypal.name()
    }

    fn account(&self) -> PartnerAccount {
        self.paypal.account()
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        self.paypal.refund_status(&self.charge(charge)).await
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        None
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.paypal.cancel(&self.charge(charge)).await
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        self.paypal.dispute(id).await
    }
}

pub(crate) struct Invoiced {
    pub(crate) cloud: Cloud<Agreed>,
    partner: Agreed,
    pub(crate) double: Arc<PayPalDouble>,
    pub(crate) front: Front,
    pub(crate) order: String,
    body: Value,
}

/// The settings in which a test differs from the default.
#[derive(Clone, Copy)]
struct Setting {
    token: Option<&'static str>,
    over_sockets: bool,
    currency: &'static str,
    price: &'static str,
}

const DEFAULT: Setting = Setting {
    token: Some(CARD),
    over_sockets: false,
    currency: "USD",
    price: "50",
};

pub(crate) fn paypal(https: Https, runtime: Runtime) -> PayPal {
    let secret = Secret::new(PayPalDouble::SECRET);
    PayPal::new(https, PayPalDouble::CLIENT.to_owned(), secret, runtime)
}

/// An invoiced order of a customer whose card has these capture outcomes.
pub(crate) async fn invoiced(outcomes: impl IntoIterator<Item = PayPalOutcome>) -> Invoiced {
    let test = invoiced_with(DEFAULT).await;
    test.double.vault_card(CARD, outcomes);
    test
}

async fn invoiced_with(setting: Setting) -> Invoiced {
    let options = Options {
        currency: setting.currency,
        ..Options::default()
    };
    let mut made = None;
    let cloud = Cloud::with_partner(options, |runtime| {
        let double = Arc::new(PayPalDouble::new(runtime.clone()));
        let front = Front::new(double.clone());
        let https = if setting.over_sockets {
            Https::new(front.serve())
        } else {
            Https::with_connector(front.connector(), "http://paypal.test")
        };
        let partner = Agreed {
            paypal: paypal(https, runtime),
            token: setting.token,
        };
        made = Some((double, front, partner.clone()));
        partner
    })
    .await;
    let (double, front, partner) = made.unwrap();
    double.vault_card(CARD, []);
    let mut cart = cart();
    cart["items"][0]["price"] = serde_json::from_str(setting.price).unwrap();
    let reply = cloud.post("/api/order/cart.json", &cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let order = text(&reply.body["orderId"]).to_owned();
    let total = reply.body["totalAmount"].clone();
    let mut document = invoice(&order);
    document["currency"] = setting.currency.into();
    document["items"][0]["price"] = cart["items"][0]["price"].clone();
    for amount in ["tax", "subTotalAmount", "totalAmount"] {
        document[amount] = reply.body[amount].clone();
    }
    let reply = cloud.post("/api/order/invoice.json", &document).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let mut body = payment(text(&reply.body["invoiceId"]));
    body["totalAmount"] = total;
    Invoiced {
        cloud,
        partner,
        double,
        front,
        order,
        body,
    }
}

impl Invoiced {
    pub(crate) async fn pay(&self) -> Reply {
        self.cloud.post(PAYMENT, &self.body).await
    }

    async fn payment(&self) -> Value {
        self.cloud.get(&self.order).await.body["payment"].clone()
    }

    async fn state(&self) -> String {
        text(&self.payment().await["state"]).to_owned()
    }

    fn lease_ends(&self) {
        self.cloud.pass(payment::LEASE + Duration::from_secs(1));
    }

    /// All requested captures.
    fn captures(&self) -> Vec<DoubleRequest> {
        let mut seen = self.front.seen();
        seen.retain(|request| request.path.ends_with("/capture"));
        seen
    }

    async fn assert_charged_once(&self) {
        assert_eq!(self.double.taken(), ["200.00 USD"]);
        assert_eq!(self.cloud.get(&self.order).await.body["status"], "paid");
    }

    /// The order's charge as stored.
    async fn charge(&self) -> OpenCharge {
        let id = OrderId::parse(&self.order).unwrap();
        let order = self.cloud.store.order(&id).await.unwrap().unwrap();
        let payment = order.payment.clone().unwrap();
        OpenCharge {
            request: request(&id, payment.attempt),
            reference: payment.reference.unwrap(),
            opened_at: payment.opened_at.unwrap(),
            partner: payment.partner,
            account: payment.account,
            method: payment.method,
            unanswered_since: payment.unanswered_since,
        }
    }
}

fn request(order: &OrderId, attempt: u32) -> ChargeRequest {
    ChargeRequest {
        invoice: order.invoice(),
        attempt,
        customer: CustomerId::parse("8080").unwrap(),
        amount: Money::from_stored("200").unwrap(),
        currency: "USD".parse().unwrap(),
        agreement: None,
        replaces: None,
    }
}

fn declined(reply: &Reply) -> (u64, &str, &str, bool) {
    (
        reply.status,
        reply.code(),
        reply.body["decline_code"].as_str().unwrap_or_default(),
        reply.body["retryable"].as_bool().unwrap_or_default(),
    )
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
