//! Payments through PayPal: the real client against a double that keeps books, on a wire that loses,
//! delays and garbles.

use std::sync::Arc;
use std::time::Duration;

use domain::{
    Agreement, CustomerId, Money, OrderId, PartnerAccount, PartnerName, PartnerToken, Timestamp,
};
use futures_util::future::join;
use messages::PartnerReference;
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartnerError, PayPal,
    RefundStatus,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use tests::partners::{
    DoubleReply, DoubleRequest, Front, Gate, Habits, Mishap, PartnerDouble, PayPalDouble,
    VaultOutcome,
};
use tests::{Cloud, Options, Reply};

use crate::contract::{cart, invoice, payment, text};

const PAYMENT: &str = "/api/order/payment.json";
const CARD: &str = "8kk8451t";
const ORDERS: &str = "/v2/checkout/orders";
const MINUTE: Duration = Duration::from_mins(1);

/// The partner for a customer who has agreed to it.
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

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        self.paypal.refund(&self.charge(charge)).await
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

/// How a test differs from the default.
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

/// An invoiced order of a customer whose card ends captures like this.
pub(crate) async fn invoiced(outcomes: impl IntoIterator<Item = VaultOutcome>) -> Invoiced {
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

    /// Every capture that was asked for.
    fn captures(&self) -> Vec<DoubleRequest> {
        let mut seen = self.front.seen();
        seen.retain(|request| request.path.ends_with("/capture"));
        seen
    }

    async fn assert_charged_once(&self) {
        assert_eq!(self.double.taken(), ["200.00 USD"]);
        assert_eq!(self.cloud.get(&self.order).await.body["status"], "paid");
    }

    /// The charge as the order has it.
    async fn charge(&self) -> OpenCharge {
        let id = OrderId::parse(&self.order).unwrap();
        let order = self.cloud.store.order(&id).await.unwrap().unwrap();
        let payment = order.payment.clone().unwrap();
        OpenCharge {
            request: request(&id, payment.attempt),
            reference: payment.reference.unwrap(),
            opened_at: payment.opened_at.unwrap(),
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

#[tokio::test]
async fn the_seeds_payment_is_opened_without_a_source_and_captured_with_it() {
    let test = invoiced([]).await;
    let reply = test.pay().await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(reply.body["transactionId"].is_u64());
    assert_eq!(
        reply.body["credit_card"],
        json!({
            "first_name": "Bob", "last_name": "Norman", "first_digits": null,
            "last_digits": "9855", "brand": "visa", "expiry_month": 12, "expiry_year": 2040,
            "customer_id": 8080,
        })
    );
    assert_eq!(reply.body["payment"]["amount"], "200.0");
    test.assert_charged_once().await;
    assert_eq!(test.pay().await.text, reply.text);
    test.assert_charged_once().await;

    let seen = test.front.seen();
    let [token, open, capture] = &*seen else {
        panic!("{seen:?}");
    };
    assert_eq!(token.path, "/v1/oauth2/token");
    assert_eq!((&*open.method, &*open.path), ("POST", ORDERS));
    let invoice = text(&test.body["invoiceId"]);
    assert_eq!(
        json_of(&open.body),
        json!({"intent": "CAPTURE", "purchase_units": [{
            "reference_id": invoice, "custom_id": invoice, "invoice_id": format!("{invoice}-1"),
            "amount": {"currency_code": "USD", "value": "200.00"},
        }]})
    );
    assert_eq!(
        json_of(&capture.body),
        json!({"payment_source": {"card": {"vault_id": CARD, "stored_credential": {
            "payment_initiator": "MERCHANT", "payment_type": "UNSCHEDULED",
            "usage": "SUBSEQUENT",
        }}}})
    );
    for request in [open, capture] {
        assert_eq!(request.header("prefer"), Some("return=representation"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let id = request.header("paypal-request-id").unwrap();
        assert!((1..=108).contains(&id.len()), "{id}");
    }
    assert_ne!(
        open.header("paypal-request-id"),
        capture.header("paypal-request-id")
    );
}

#[tokio::test]
async fn a_decline_is_told_by_its_code_and_takes_nothing() {
    let cases = [
        (
            VaultOutcome::Refused("INSTRUMENT_DECLINED"),
            "instrument_declined",
            true,
        ),
        (VaultOutcome::Refused("CARD_EXPIRED"), "card_expired", false),
        (
            VaultOutcome::Refused("PAYER_ACCOUNT_RESTRICTED"),
            "payer_account_restricted",
            false,
        ),
        (VaultOutcome::Declined("5120"), "insufficient_funds", true),
        (VaultOutcome::Declined("9500"), "suspected_fraud", false),
        (VaultOutcome::Status("FAILED"), "failed", true),
        // A charge that PayPal never takes is declined for good, too.
        (
            VaultOutcome::Refused("MAX_VALUE_EXCEEDED"),
            "max_value_exceeded",
            false,
        ),
    ];
    for (outcome, code, retryable) in cases {
        let test = invoiced([outcome]).await;
        let reply = test.pay().await;
        let expected = (402, "payment_declined", code, retryable);
        assert_eq!(declined(&reply), expected, "{}", reply.text);
        assert!(test.double.taken().is_empty());
        assert_eq!(test.state().await, "declined");
    }
}

#[tokio::test]
async fn what_only_the_shop_can_mend_is_no_decline_of_the_customers() {
    for issue in [
        "PAYEE_ACCOUNT_RESTRICTED",
        "PERMISSION_DENIED",
        "NOT_ENABLED_FOR_CARD_PROCESSING",
    ] {
        let test = invoiced([VaultOutcome::Refused(issue)]).await;
        assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
        assert_eq!(test.state().await, "due");
        assert!(test.double.taken().is_empty());
    }
}

#[tokio::test]
async fn what_paypal_does_not_document_is_unknown_and_never_a_decline() {
    let test = invoiced([
        VaultOutcome::Refused("INVENTED"),
        VaultOutcome::Status("INVENTED"),
    ])
    .await;
    test.double.set_habits(Habits {
        refusals_are_repeated: false,
        ..Habits::default()
    });
    for _ in 0..2 {
        assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
        assert_eq!(test.state().await, "unknown");
    }
    assert!(test.double.taken().is_empty());
}

#[tokio::test]
async fn a_paid_invoice_that_is_not_ours_is_unknown_and_never_a_decline() {
    let test = invoiced([VaultOutcome::Refused("DUPLICATE_INVOICE_ID")]).await;
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
}

#[tokio::test]
async fn a_wallet_is_charged_and_has_no_card() {
    for (token, source) in [("wallet_1", "paypal"), ("B-1AB23456CD789012E", "token")] {
        let test = invoiced_with(Setting {
            token: Some(token),
            ..DEFAULT
        })
        .await;
        test.double.vault_wallet("wallet_1", []);
        test.double.vault_agreement("B-1AB23456CD789012E", []);
        let reply = test.pay().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let card = &reply.body["credit_card"];
        for field in [
            "first_name",
            "last_name",
            "last_digits",
            "brand",
            "expiry_year",
        ] {
            assert_eq!(card[field], Value::Null, "{field}");
        }
        test.assert_charged_once().await;
        let captures = test.captures();
        let body = json_of(&captures.last().unwrap().body);
        assert!(body["payment_source"][source].is_object(), "{body}");
    }
}

#[tokio::test]
async fn nobody_is_charged_who_has_not_agreed_or_has_withdrawn() {
    let none = invoiced_with(Setting {
        token: None,
        ..DEFAULT
    })
    .await;
    assert_eq!(none.pay().await.code(), "billing_agreement_missing");
    assert!(none.front.seen().is_empty());

    let unknown = invoiced_with(Setting {
        token: Some("unknown"),
        ..DEFAULT
    })
    .await;
    assert_eq!(unknown.pay().await.code(), "billing_agreement_missing");
    assert_eq!(unknown.state().await, "action_required");
    assert!(unknown.double.taken().is_empty());

    let withdrawn = invoiced([VaultOutcome::Refused("AGREEMENT_ALREADY_CANCELLED")]).await;
    assert_eq!(withdrawn.pay().await.code(), "billing_agreement_missing");
}

#[tokio::test]
async fn a_payer_who_must_act_is_charged_once_after_acting() {
    let test = invoiced([VaultOutcome::PayerMustAct]).await;
    for _ in 0..2 {
        assert_eq!(test.pay().await.code(), "payment_action_required");
        assert_eq!(test.state().await, "action_required");
    }
    test.double.payers_act();
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_payer_who_never_acts_is_declined_once_the_order_has_expired() {
    let test = invoiced([VaultOutcome::PayerMustAct]).await;
    assert_eq!(test.pay().await.code(), "payment_action_required");
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    let expected = (402, "payment_declined", "cancelled_at_partner", true);
    assert_eq!(declined(&test.pay().await), expected);
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_pending_capture_is_paid_or_declined_once_it_settles() {
    let after = Duration::from_hours(5);
    for (becomes, status) in [("COMPLETED", 201), ("DECLINED", 402)] {
        let as_ = becomes;
        let test = invoiced([VaultOutcome::Pending { after, as_ }]).await;
        for _ in 0..2 {
            assert_eq!(test.pay().await.code(), "payment_pending");
            assert_eq!(test.state().await, "pending");
        }
        test.cloud.pass(after);
        assert_eq!(test.pay().await.status, status);
        assert_eq!(test.captures().len(), 1);
        assert_eq!(test.double.taken().len(), usize::from(status == 201));
    }
}

#[tokio::test]
async fn a_second_attempt_goes_on_with_the_order_that_is_alive() {
    let test = invoiced([VaultOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 1);
    test.assert_charged_once().await;
    let ids = test.captures();
    assert_ne!(
        ids[0].header("paypal-request-id"),
        ids[1].header("paypal-request-id")
    );
}

#[tokio::test]
async fn a_second_attempt_opens_another_order_if_the_first_is_dead() {
    let test = invoiced([VaultOutcome::Declined("5120")]).await;
    assert_eq!(test.pay().await.status, 402);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

/// When the frozen worker wakes.
#[derive(Clone, Copy, Debug)]
enum Wakes {
    AfterTheDecline,
    DuringTheSecondAttempt,
    AfterTheSecondAttempt,
}

#[tokio::test]
async fn a_worker_that_wakes_late_before_its_capture_never_makes_a_second_charge() {
    for first in [
        VaultOutcome::Refused("INSTRUMENT_DECLINED"),
        VaultOutcome::Declined("5120"),
    ] {
        for refusals_are_repeated in [true, false] {
            for wakes in [
                Wakes::AfterTheDecline,
                Wakes::DuringTheSecondAttempt,
                Wakes::AfterTheSecondAttempt,
            ] {
                let case = format!("{first:?} {refusals_are_repeated} {wakes:?}");
                println!("{case}");
                late_worker(first.clone(), refusals_are_repeated, wakes).await;
            }
        }
    }
}

async fn late_worker(first: VaultOutcome, refusals_are_repeated: bool, wakes: Wakes) {
    // A dead order takes nothing, and a refusal that PayPal remembers is not asked for again.
    let it_takes_the_money = matches!(first, VaultOutcome::Refused(_)) && !refusals_are_repeated;
    let test = invoiced([first]).await;
    // Not even an account that is set to take an invoice's id once is relied on.
    test.double.set_habits(Habits {
        refusals_are_repeated,
        invoices_are_unique: false,
        ..Habits::default()
    });
    let frozen = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(frozen.clone()));
    let others = async {
        frozen.arrived().await;
        test.lease_ends();
        assert_eq!(test.pay().await.status, 402);
        match wakes {
            Wakes::AfterTheDecline => {
                frozen.open();
                tokio::task::yield_now().await;
                assert_eq!(test.double.taken().len(), usize::from(it_takes_the_money));
                assert_eq!(test.pay().await.status, 201);
            }
            Wakes::DuringTheSecondAttempt => {
                let second = Gate::default();
                test.front
                    .plan("POST", "/capture", Mishap::Held(second.clone()));
                let wake = async {
                    second.arrived().await;
                    frozen.open();
                    tokio::task::yield_now().await;
                    second.open();
                };
                let (reply, ()) = join(test.pay(), wake).await;
                assert_eq!(reply.status, 201, "{}", reply.text);
            }
            Wakes::AfterTheSecondAttempt => {
                assert_eq!(test.pay().await.status, 201);
                frozen.open();
            }
        }
    };
    let (reply, ()) = join(test.pay(), others).await;
    assert!(matches!(reply.status, 201 | 409), "{}", reply.text);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn yen_are_charged_without_decimals() {
    let test = invoiced_with(Setting {
        currency: "JPY",
        ..DEFAULT
    })
    .await;
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.taken(), ["200 JPY"]);
}

#[tokio::test]
async fn forints_are_charged_in_whole_units_or_not_at_all() {
    let whole = Setting {
        currency: "HUF",
        ..DEFAULT
    };
    let test = invoiced_with(whole).await;
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.taken(), ["200 HUF"]);

    let test = invoiced_with(Setting {
        price: "50.25",
        ..whole
    })
    .await;
    let expected = (402, "payment_declined", "amount_not_supported", false);
    assert_eq!(declined(&test.pay().await), expected);
    assert!(test.front.seen().is_empty());
    assert_eq!(declined(&test.pay().await), expected);
}

#[tokio::test]
async fn one_token_serves_many_calls_until_shortly_before_its_end() {
    let test = invoiced([]).await;
    test.double.set_habits(Habits {
        token_lives: Duration::from_hours(1),
        ..Habits::default()
    });
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    test.cloud.pass(54 * MINUTE);
    test.partner.look_up(&charge).await.unwrap();
    assert_eq!(test.double.tokens(), 1);
    test.cloud.pass(2 * MINUTE);
    test.partner.look_up(&charge).await.unwrap();
    assert_eq!(test.double.tokens(), 2);
    let mut asked = test.front.seen();
    asked.retain(|request| request.path == "/v1/oauth2/token");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_flight_is_replaced_and_the_charge_made_once() {
    let test = invoiced([]).await;
    let gate = Gate::default();
    test.front
        .plan("POST", "/capture", Mishap::Held(gate.clone()));
    let expire = async {
        gate.arrived().await;
        test.double.expire_tokens();
        gate.open();
    };
    let (reply, ()) = join(test.pay(), expire).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    let captures = test.captures();
    assert_eq!(captures.len(), 2);
    assert_eq!(
        captures[0].header("paypal-request-id"),
        captures[1].header("paypal-request-id")
    );
    test.assert_charged_once().await;
}

#[tokio::test]
async fn credentials_that_paypal_refuses_charge_nobody_and_decline_nobody() {
    let test = invoiced([]).await;
    let refused = DoubleReply::new(401, r#"{"error":"invalid_client"}"#);
    test.front.plan("POST", "oauth2", Mishap::Instead(refused));
    assert_eq!(test.pay().await.code(), "billing_partner_not_configured");
    assert_eq!(test.state().await, "due");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_rate_limit_delays_the_charge_and_nothing_else() {
    let limit = || {
        let body = r#"{"name":"RATE_LIMIT_REACHED","message":"Too many requests."}"#;
        Mishap::Instead(DoubleReply::new(429, body))
    };
    let test = invoiced([]).await;
    for part in ["oauth2", ORDERS, "/capture"] {
        test.front.plan("POST", part, limit());
        assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
        assert_eq!(test.state().await, "due");
    }
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

/// Every way in which an answer may not come.
fn mishaps() -> Vec<Mishap> {
    let fault = || {
        let body = r#"{"name":"INTERNAL_SERVER_ERROR","debug_id":"90957fca61718"}"#;
        DoubleReply::new(500, body)
    };
    vec![
        Mishap::RequestLost,
        Mishap::AnswerLost,
        Mishap::BrokenOff,
        Mishap::Instead(fault()),
        Mishap::Garbled(fault()),
        Mishap::Garbled(DoubleReply::new(503, "<html>try again later</html>")),
        Mishap::Garbled(DoubleReply::new(201, "{\"id\":")),
        Mishap::Garbled(DoubleReply::new(201, "")),
        Mishap::Garbled(DoubleReply::new(422, "<html>no</html>")),
        Mishap::Garbled(DoubleReply::new(201, vec![b' '; 3 * 1024 * 1024])),
    ]
}

#[tokio::test]
async fn an_answer_that_is_lost_or_garbled_at_any_step_leads_to_one_capture() {
    for over_sockets in [false, true] {
        for mishap in mishaps() {
            for part in ["oauth2", ORDERS, "/capture"] {
                let test = invoiced_with(Setting {
                    over_sockets,
                    ..DEFAULT
                })
                .await;
                test.front.plan("POST", part, mishap.clone());
                let reply = test.pay().await;
                let state = test.state().await;
                let expected = if part == "/capture" {
                    ("payment_outcome_unknown", "unknown")
                } else {
                    ("billing_partner_unavailable", "due")
                };
                assert_eq!((reply.code(), &*state), expected, "{part}, {mishap:?}");
                assert_eq!(test.pay().await.status, 201, "{part}, {mishap:?}");
                test.assert_charged_once().await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up_after_eight_seconds() {
    let test = invoiced_with(Setting {
        over_sockets: true,
        ..DEFAULT
    })
    .await;
    test.front.plan("POST", "/capture", Mishap::Dripped);
    let began = tokio::time::Instant::now();
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    let took = began.elapsed();
    assert!((7..12).contains(&took.as_secs()), "{took:?}");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_lost_look_up_changes_nothing() {
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    for mishap in mishaps() {
        test.front.plan("GET", ORDERS, mishap);
        assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
        assert_eq!(test.state().await, "unknown");
    }
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.captures().len(), 1);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_order_that_expired_uncaptured_is_replaced_by_another_within_the_attempt() {
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", Mishap::RequestLost);
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_declined_order_that_expired_lets_the_next_attempt_open_another() {
    let test = invoiced([VaultOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    test.cloud.pass(Habits::default().order_lives + MINUTE);
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_order_that_is_not_found_too_early_is_not_taken_for_dead() {
    let not_found = || {
        let body = r#"{"name":"RESOURCE_NOT_FOUND","details":[{"issue":"INVALID_RESOURCE_ID"}]}"#;
        Mishap::Instead(DoubleReply::new(404, body))
    };
    let test = invoiced([]).await;
    test.front.plan("POST", "/capture", not_found());
    assert_eq!(test.pay().await.code(), "payment_outcome_unknown");
    test.front.plan("GET", ORDERS, not_found());
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.pay().await.status, 201);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn an_opening_is_found_again_unless_its_order_has_aged() {
    let test = invoiced([]).await;
    test.front.plan("POST", ORDERS, Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 1);

    let test = invoiced([]).await;
    test.front.plan("POST", ORDERS, Mishap::AnswerLost);
    assert_eq!(test.pay().await.code(), "billing_partner_unavailable");
    // Its id is still kept, and its order is dead.
    test.cloud.pass(Duration::from_hours(4));
    assert_eq!(test.pay().await.status, 201);
    assert_eq!(test.double.opened(), 2);
    test.assert_charged_once().await;
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_made_once() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    for mishap in mishaps() {
        test.front.plan("POST", "/refund", mishap.clone());
        match test.partner.refund(&charge).await {
            Err(PartnerError::Unanswered(_)) | Ok(RefundStatus::Refunded) => {}
            other => panic!("{mishap:?}: {other:?}"),
        }
    }
    for _ in 0..2 {
        let refund = test.partner.refund(&charge).await.unwrap();
        assert_eq!(refund, RefundStatus::Refunded);
        assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
        // Longer than PayPal keeps a refund's id.
        test.cloud.pass(Duration::from_hours(46 * 24));
    }
}

#[tokio::test]
async fn two_refunds_at_once_give_the_money_back_once() {
    let test = invoiced([]).await;
    assert_eq!(test.pay().await.status, 201);
    let charge = test.charge().await;
    let gate = Gate::default();
    test.front
        .plan("POST", "/refund", Mishap::Held(gate.clone()));
    let other = async {
        gate.arrived().await;
        let refund = test.partner.refund(&charge).await.unwrap();
        // Whoever comes now has no id that is still kept.
        test.cloud.pass(Duration::from_hours(46 * 24));
        gate.open();
        refund
    };
    let (late, refund) = join(test.partner.refund(&charge), other).await;
    assert_eq!(refund, RefundStatus::Refunded);
    // Its token has expired meanwhile, and it is told that nothing is left.
    assert_eq!(late.unwrap(), RefundStatus::Refunded);
    assert_eq!(test.double.given_back(), ["200.00 COMPLETED"]);
}

#[tokio::test]
async fn a_refund_that_pends_or_fails_is_told_so() {
    for (word, expected) in [
        ("PENDING", RefundStatus::Pending),
        ("FAILED", refund_failed("refund_failed")),
        ("CANCELLED", refund_failed("refund_cancelled")),
    ] {
        let test = invoiced([]).await;
        assert_eq!(test.pay().await.status, 201);
        test.double.refunds_end_as(word);
        let charge = test.charge().await;
        for _ in 0..2 {
            assert_eq!(
                test.partner.refund(&charge).await.unwrap(),
                expected,
                "{word}"
            );
        }
    }
    let test = invoiced([VaultOutcome::Refused("INSTRUMENT_DECLINED")]).await;
    assert_eq!(test.pay().await.status, 402);
    let charge = test.charge().await;
    let refund = test.partner.refund(&charge).await.unwrap();
    assert_eq!(refund, refund_failed("not_captured"));
}

fn refund_failed(code: &str) -> RefundStatus {
    RefundStatus::Failed {
        code: code.to_owned(),
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_has_charged_nobody() {
    let runtime = Runtime::new(|| Timestamp::from_millis(0), |_| {});
    // Nobody listens on the discard port of loopback.
    let partner = Agreed {
        paypal: paypal(Https::new("http://127.0.0.1:9"), runtime),
        token: Some(CARD),
    };
    let order = OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001").unwrap();
    let opened = partner.open(&request(&order, 1)).await;
    assert!(matches!(opened, Err(PartnerError::Unavailable(_))));
}

#[test]
fn the_client_never_prints_its_secret() {
    let runtime = Runtime::new(|| Timestamp::from_millis(0), |_| {});
    let client = paypal(Https::new("http://127.0.0.1:9"), runtime);
    assert!(!format!("{client:?}").contains(PayPalDouble::SECRET));
}

/// The double on its own, asked as PayPal's documents ask.
struct Wire {
    double: PayPalDouble,
    token: String,
}

impl Wire {
    fn new() -> Self {
        let runtime = Runtime::new(|| Timestamp::from_millis(1_795_428_725_000), |_| {});
        let double = PayPalDouble::new(runtime);
        double.vault_card(CARD, []);
        let mut wire = Self {
            double,
            token: String::new(),
        };
        let basic =
            Secret::basic_authorization(PayPalDouble::CLIENT, &Secret::new(PayPalDouble::SECRET));
        let (status, body) = wire.ask(
            "POST",
            "/v1/oauth2/token",
            &[("authorization", basic.expose())],
            b"grant_type=client_credentials",
        );
        assert_eq!(status, 200);
        assert_eq!(body["token_type"], "Bearer");
        assert!(body["expires_in"].is_u64());
        wire.token = format!("Bearer {}", text(&body["access_token"]));
        wire
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let mut headers: std::collections::BTreeMap<String, String> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        headers
            .entry("authorization".to_owned())
            .or_insert_with(|| self.token.clone());
        headers.insert("content-type".to_owned(), "application/json".to_owned());
        let reply = self.double.handle(&DoubleRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: body.to_vec(),
        });
        (reply.status, json_of(&reply.body))
    }

    fn post(&self, path: &str, id: &str, body: &Value) -> (u16, Value) {
        let headers = [
            ("paypal-request-id", id),
            ("prefer", "return=representation"),
        ];
        self.ask("POST", path, &headers, body.to_string().as_bytes())
    }

    fn open(&self) -> String {
        let body = json!({"intent": "CAPTURE", "purchase_units": [
            {"custom_id": "1111", "amount": {"currency_code": "USD", "value": "45.00"}}]});
        let (status, order) = self.post(ORDERS, "open", &body);
        assert_eq!((status, &order["status"]), (201, &json!("CREATED")));
        text(&order["id"]).to_owned()
    }
}

fn vaulted() -> Value {
    json!({"payment_source": {"card": {"vault_id": CARD, "stored_credential": {
        "payment_initiator": "MERCHANT", "payment_type": "UNSCHEDULED", "usage": "SUBSEQUENT"}}}})
}

/// Whether `actual` has every field of the published answer, each of its kind.
fn assert_shaped_like(actual: &Value, published: &Value, at: &str) {
    match (actual, published) {
        (Value::Object(actual), Value::Object(published)) => {
            for (name, value) in published {
                let at = format!("{at}/{name}");
                let field = actual
                    .get(name)
                    .unwrap_or_else(|| panic!("{at} is missing"));
                assert_shaped_like(field, value, &at);
            }
        }
        (Value::Array(actual), Value::Array(published)) => {
            for (index, value) in published.iter().enumerate() {
                let at = format!("{at}/{index}");
                let element = actual
                    .get(index)
                    .unwrap_or_else(|| panic!("{at} is missing"));
                assert_shaped_like(element, value, &at);
            }
        }
        _ => assert_eq!(
            std::mem::discriminant(actual),
            std::mem::discriminant(published),
            "{at}"
        ),
    }
}

#[test]
fn the_double_answers_in_the_shapes_that_paypal_publishes() {
    let wire = Wire::new();
    let order = wire.open();
    let path = format!("{ORDERS}/{order}");
    // A captured card, as in PayPal's guide to its account updater.
    let published = json!({
        "id": "7YS401589T475863H", "status": "COMPLETED",
        "payment_source": {"card": {"last_digits": "9855", "expiry": "2040-12", "brand": "VISA",
            "type": "CREDIT"}},
        "purchase_units": [{"reference_id": "default", "payments": {"captures": [{
            "id": "1MJ8142177130444J", "status": "COMPLETED",
            "amount": {"currency_code": "USD", "value": "45.00"}, "final_capture": true,
            "seller_protection": {"status": "NOT_ELIGIBLE"}, "custom_id": "1111",
            "links": [{"href": "h", "rel": "self", "method": "GET"}],
            "create_time": "2023-03-12T17:53:18Z", "update_time": "2023-03-12T17:53:18Z",
            "processor_response": {"avs_code": "A", "cvv_code": "M", "response_code": "0000"},
        }]}}],
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    let (status, captured) = wire.post(&format!("{path}/capture"), "capture", &vaulted());
    assert_eq!(status, 201);
    assert_shaped_like(&captured, &published, "");
    let (status, again) = wire.post(&format!("{path}/capture"), "capture", &vaulted());
    assert_eq!((status, &again), (200, &captured));
    let (status, read) = wire.ask("GET", &path, &[], b"");
    assert_eq!((status, &read), (200, &captured));

    // A second capture, and an order that is not there, as in the specification and in live logs.
    let error = json!({
        "name": "n", "message": "m", "debug_id": "d",
        "details": [{"issue": "i", "description": "d"}],
        "links": [{"href": "h", "rel": "information_link", "method": "GET"}],
    });
    let (status, refused) = wire.post(&format!("{path}/capture"), "other", &vaulted());
    assert_shaped_like(&refused, &error, "");
    assert_eq!(
        (status, &refused["name"], &refused["details"][0]["issue"]),
        (
            422,
            &json!("UNPROCESSABLE_ENTITY"),
            &json!("ORDER_ALREADY_CAPTURED")
        )
    );
    let (status, missing) = wire.ask("GET", &format!("{ORDERS}/5O190127TN364715T"), &[], b"");
    assert_shaped_like(&missing, &error, "");
    assert_eq!(
        (status, &missing["name"], &missing["details"][0]["issue"]),
        (
            404,
            &json!("RESOURCE_NOT_FOUND"),
            &json!("INVALID_RESOURCE_ID")
        )
    );

    let capture = text(&captured["purchase_units"][0]["payments"]["captures"][0]["id"]);
    let path = format!("/v2/payments/captures/{capture}/refund");
    let (status, refund) = wire.post(&path, "refund", &json!({}));
    let published = json!({"id": "i", "status": "COMPLETED",
        "links": [{"href": "h", "rel": "self", "method": "GET"}]});
    assert_eq!(status, 201);
    assert_shaped_like(&refund, &published, "");
}

#[test]
fn the_double_shows_a_dispute_and_its_capture_as_paypal_publishes_them() {
    let wire = Wire::new();
    let order = wire.open();
    let (_, paid) = wire.post(&format!("{ORDERS}/{order}/capture"), "capture", &vaulted());
    let capture = text(&paid["purchase_units"][0]["payments"]["captures"][0]["id"]);
    wire.double.dispute();
    wire.double
        .set_disputes("RESOLVED", Some("RESOLVED_BUYER_FAVOUR"));
    let path = format!("/v1/customer/disputes/{}", wire.double.disputes()[0]);
    let (status, dispute) = wire.ask("GET", &path, &[], b"");
    // The specification's fields that every dispute of a capture has.
    let published = json!({
        "dispute_id": "PP-D-27803", "create_time": "t", "update_time": "t",
        "disputed_transactions": [{
            "seller_transaction_id": "i", "create_time": "t", "transaction_status": "COMPLETED",
            "gross_amount": {"currency_code": "USD", "value": "1"},
            "buyer": {"name": "n"}, "seller": {"merchant_id": "m"},
        }],
        "reason": "r", "status": "RESOLVED",
        "dispute_amount": {"currency_code": "USD", "value": "1"},
        "dispute_outcome": {"outcome_code": "c",
            "amount_refunded": {"currency_code": "USD", "value": "1"}},
        "dispute_life_cycle_stage": "CHARGEBACK", "dispute_channel": "INTERNAL",
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    assert_eq!(status, 200);
    assert_shaped_like(&dispute, &published, "");
    let disputed = &dispute["disputed_transactions"][0]["seller_transaction_id"];
    assert_eq!(*disputed, capture);
    let path = format!("/v2/payments/captures/{capture}");
    let (status, shown) = wire.ask("GET", &path, &[], b"");
    let published = json!({
        "id": "i", "status": "COMPLETED", "amount": {"currency_code": "USD", "value": "45.00"},
        "custom_id": "1111", "final_capture": true,
        "supplementary_data": {"related_ids": {"order_id": "o"}},
        "links": [{"href": "h", "rel": "self", "method": "GET"}],
    });
    assert_eq!(status, 200);
    assert_shaped_like(&shown, &published, "");
    let related = &shown["supplementary_data"]["related_ids"];
    assert_eq!(
        (&shown["custom_id"], &related["order_id"]),
        (&json!("1111"), &json!(order))
    );
}

#[test]
fn the_double_is_as_strict_as_paypal() {
    let wire = Wire::new();
    let issue = |reply: &(u16, Value)| {
        let issue = reply.1["details"][0]["issue"].as_str().unwrap_or_default();
        (reply.0, issue.to_owned())
    };
    let open = |currency: &str, value: &str| {
        let body = json!({"intent": "CAPTURE", "purchase_units": [
            {"amount": {"currency_code": currency, "value": value}}]});
        issue(&wire.post(ORDERS, &format!("{currency}{value}"), &body))
    };
    for (currency, value, expected) in [
        ("JPY", "500.00", "DECIMAL_PRECISION"),
        ("HUF", "500.00", "DECIMAL_PRECISION"),
        ("TWD", "500.00", "DECIMAL_PRECISION"),
        ("USD", "5.001", "DECIMAL_PRECISION"),
        ("KWD", "5.001", "INVALID_CURRENCY_CODE"),
        ("USD", "0.00", "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ("USD", "1000000000000000.00", "MAX_VALUE_EXCEEDED"),
    ] {
        assert_eq!(open(currency, value), (422, expected.to_owned()));
    }
    let order = wire.open();
    let path = format!("{ORDERS}/{order}/capture");
    let ask = |id: &str, body: Value| issue(&wire.post(&path, id, &body));
    assert_eq!(ask("none", json!({})), (422, "ORDER_NOT_APPROVED".into()));
    let card = |source: Value| json!({"payment_source": {"card": source}});
    assert_eq!(
        ask("bare", card(json!({"vault_id": CARD}))),
        (400, "INVALID_PARAMETER_VALUE".into())
    );
    let long = "x".repeat(109);
    assert_eq!(ask(&long, vaulted()), (400, "INVALID_STRING_LENGTH".into()));
    let wrong = wire.ask("GET", &path, &[("authorization", "Bearer made-up")], b"");
    assert_eq!((wrong.0, &wrong.1["error"]), (401, &json!("invalid_token")));
    assert!(wire.double.taken().is_empty());

    // An order that is created with a source is paid at once: never the way to open one.
    let mut body = vaulted();
    body["intent"] = "CAPTURE".into();
    body["purchase_units"] = json!([{"amount": {"currency_code": "USD", "value": "45.00"}}]);
    let (_, paid) = wire.post(ORDERS, "single step", &body);
    assert_eq!(paid["status"], "COMPLETED");
    assert_eq!(wire.double.taken(), ["45.00 USD"]);
}
