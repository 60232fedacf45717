//! The obligations of [`BillingPartner`], tested by one suite for the real clients, the sandbox,
//! and the test doubles that other tests use as a partner. A double that breaks an obligation could
//! hide a bug in the tests that use it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{Agreement, CustomerId, Money, OrderId, PartnerAccount, PartnerName, Timestamp};
use futures_util::future::join;
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Ledger, OpenCharge, PartnerError, PayPal,
    RefundStatus, Sandbox, Stripe,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use tests::PlayedPartner;
use tests::partners::{
    Front, Habits, Mishap, Operation, Outcome, PayPalDouble, PayPalOutcome, StripeDouble,
};
use tests::sim::{AbstractPartner, Protocol};

use crate::stripe::{clock, token};

/// An obligation of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obligation {
    OpeningMovesNothing,
    ReplacesTheClosed,
    OnceForAReference,
    ByTheMethodThatHolds,
    UnansweredIsNoDecline,
    LookingChangesNothing,
    ClosedIsFinal,
    ExpiryIsProven,
    RefundsOnce,
    AccountIsStable,
}

/// The outcome that a test wants for a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Its confirmation captures the money.
    Good,
    /// Its first confirmation is declined.
    Declined,
    /// It is captured, but the answer is lost once [`Bench::lose_answer`] was called.
    AnswerLost,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Confirm,
    Refund,
}

/// A partner with its books, its wire, and its clock.
trait Bench {
    const NAME: &'static str;
    /// The obligations that do not apply to it, with the reasons.
    const CANNOT: &'static [(Obligation, &'static str)];
    /// The lifetime of a charge that is not confirmed; `None` if it does not expire.
    const LIVES: Option<Duration>;
    /// The partner that its customers have agreements with.
    const WITH: PartnerName;
    /// The payment method that a charge is opened with.
    const FIRST: &'static str;
    /// Another valid method of the customer.
    const OTHER: &'static str;
    /// A method that is declined.
    const BAD: &'static str;

    fn new() -> Self;

    /// A client with the shop's credentials.
    fn client(&self) -> impl BillingPartner;

    /// A client with another account's credentials, if credentials identify the account.
    fn stranger(&self) -> Option<impl BillingPartner> {
        None::<Sandbox>
    }

    fn now(&self) -> Timestamp;
    fn pass(&self, time: Duration);

    /// The customer who is charged in that case.
    fn customer(_case: Case) -> &'static str {
        "8080"
    }

    /// Prepares the outcome of the next charge, if neither its method nor its customer determines
    /// it.
    fn plan(&self, _case: Case) {}

    /// The next request of that kind is carried out, but its answer is lost.
    fn lose_answer(&self, asked: Asked);

    /// From now on, `BAD` can be charged.
    fn all_is_good(&self) {}

    /// The payment methods of all captures, one entry for each.
    fn taken(&self) -> Vec<String>;

    /// The number of refunds.
    fn given_back(&self) -> usize;
}

fn cannot<B: Bench>(obligation: Obligation) -> Option<&'static str> {
    let mut known = B::CANNOT.iter();
    let found = known.find(|(each, _)| *each == obligation)?;
    Some(found.1)
}

fn agreement<B: Bench>(method: &str) -> Agreement {
    Agreement {
        partner: B::WITH,
        partner_customer: Some(token(CUSTOMER)),
        payment_method: token(method),
    }
}

/// The first attempt to charge 200 dollars.
fn request<B: Bench>(case: Case) -> ChargeRequest {
    let method = match case {
        Case::Good | Case::AnswerLost => B::FIRST,
        Case::Declined => B::BAD,
    };
    let order = OrderId::parse("ord_01JDB4XK00EXAMPVE0RDER0001").unwrap();
    ChargeRequest {
        invoice: order.invoice(),
        attempt: 1,
        customer: CustomerId::parse(B::customer(case)).unwrap(),
        amount: Money::from_stored("200").unwrap(),
        currency: "USD".parse().unwrap(),
        agreement: Some(agreement::<B>(method)),
        replaces: None,
    }
}

/// An opened charge whose confirmation may be on its way.
async fn opened<B: Bench>(bench: &B, case: Case) -> OpenCharge {
    bench.plan(case);
    let (client, request) = (bench.client(), request::<B>(case));
    let reference = client.open(&request).await.unwrap();
    OpenCharge::new(request, reference, &client, bench.now())
}

/// The same charge without a confirmation on its way.
fn answered(charge: &OpenCharge) -> OpenCharge {
    OpenCharge {
        unanswered_since: None,
        ..charge.clone()
    }
}

fn is_final(status: &ChargeStatus) -> bool {
    matches!(
        status,
        ChargeStatus::Cancelled | ChargeStatus::Expired | ChargeStatus::Declined { .. }
    )
}

fn is_captured(result: &Result<ChargeStatus, PartnerError>) -> bool {
    matches!(result, Ok(ChargeStatus::Captured(_)))
}

fn has_expired(result: &Result<ChargeStatus, PartnerError>) -> bool {
    matches!(result, Ok(ChargeStatus::Expired))
}

/// Runs a check for every partner to which the obligation applies.
macro_rules! of_every_partner {
    ($obligation:expr, $check:ident) => {
        of_every_partner!(
            $obligation,
            $check,
            AtStripe,
            AtPayPal,
            AtSandbox,
            AtPlayed,
            AtIntents,
            AtOrders
        )
    };
    ($obligation:expr, $check:ident, $($bench:ty),*) => {
        $(
            println!("{}", <$bench>::NAME);
            match cannot::<$bench>($obligation) {
                None => $check(<$bench>::new()).await,
                Some(why) => println!("  not {:?}: {why}", $obligation),
            }
        )*
    };
}

#[tokio::test]
async fn opening_a_charge_moves_no_money() {
    of_every_partner!(Obligation::OpeningMovesNothing, opening_moves_nothing);
}

async fn opening_moves_nothing<B: Bench>(bench: B) {
    let charge = opened(&bench, Case::Good).await;
    // Once more, as after a lost answer.
    opened(&bench, Case::Good).await;
    bench.pass(Duration::from_mins(1));
    let client = bench.client();
    let status = client.look_up(&answered(&charge)).await.unwrap();
    assert_eq!(status, ChargeStatus::Unconfirmed);
    assert!(bench.taken().is_empty());
    assert!(is_captured(&client.confirm(&charge).await));
    assert_eq!(bench.taken(), [B::FIRST]);
}

/// A customer who replaces the payment method and returns to the first one, whose charge is closed.
#[tokio::test]
async fn a_charge_that_replaces_a_closed_one_is_another_whatever_it_is_charged_by() {
    of_every_partner!(Obligation::ReplacesTheClosed, replaces_the_closed);
}

async fn replaces_the_closed<B: Bench>(bench: B) {
    let mut charge = opened(&bench, Case::Good).await;
    let client = bench.client();
    let mut references = vec![charge.reference.clone()];
    for method in [B::OTHER, B::FIRST, B::OTHER, B::FIRST] {
        client.cancel(&answered(&charge)).await.unwrap();
        let mut request = charge.replacement();
        request.agreement = Some(agreement::<B>(method));
        let reference = client.open(&request).await.unwrap();
        // A repeat, as after a lost answer, may find it.
        client.open(&request).await.unwrap();
        assert!(!references.contains(&reference), "{reference}");
        references.push(reference.clone());
        charge = OpenCharge::new(request, reference, &client, bench.now());
    }
    assert!(is_captured(&client.confirm(&charge).await));
    assert_eq!(bench.taken(), [B::FIRST]);
}

#[tokio::test]
async fn a_reference_takes_the_money_once_whoever_confirms_it() {
    of_every_partner!(Obligation::OnceForAReference, once_for_a_reference);
}

async fn once_for_a_reference<B: Bench>(bench: B) {
    let charge = opened(&bench, Case::Good).await;
    let (one, other) = (bench.client(), bench.client());
    let (first, second) = join(one.confirm(&charge), other.confirm(&charge)).await;
    assert!(is_captured(&first) && is_captured(&second));
    // Within the lifetime of idempotency keys and after it, by this attempt or the next one.
    let mut next = charge.clone();
    next.request.attempt = 2;
    for wait in [1, 7, 25] {
        bench.pass(Duration::from_hours(wait));
        for charge in [&charge, &next] {
            assert!(is_captured(&one.confirm(charge).await), "{wait}");
        }
    }
    assert_eq!(bench.taken(), [B::FIRST]);
}

#[tokio::test]
async fn a_charge_is_confirmed_by_the_method_that_holds_or_not_at_all() {
    of_every_partner!(Obligation::ByTheMethodThatHolds, by_the_method_that_holds);
}

async fn by_the_method_that_holds<B: Bench>(bench: B) {
    let mut charge = opened(&bench, Case::Good).await;
    let client = bench.client();
    charge.request.agreement = None;
    let nobodys = client.confirm(&charge).await;
    assert!(
        matches!(
            nobodys,
            Err(PartnerError::NoAgreement | PartnerError::OtherMethod)
        ),
        "{nobodys:?}"
    );
    assert!(bench.taken().is_empty());

    charge.request.agreement = Some(agreement::<B>(B::OTHER));
    match client.confirm(&charge).await {
        // It is bound to the first method and is not captured until that one is agreed to again.
        Err(PartnerError::OtherMethod) => {
            assert!(bench.taken().is_empty());
            charge.request.agreement = Some(agreement::<B>(B::FIRST));
            assert!(is_captured(&client.confirm(&charge).await));
            assert_eq!(bench.taken(), [B::FIRST]);
        }
        other => {
            assert!(is_captured(&other), "{other:?}");
            assert_eq!(bench.taken(), [B::OTHER]);
        }
    }
}

#[tokio::test]
async fn a_confirmation_without_an_answer_is_unanswered_and_never_a_decline() {
    of_every_partner!(Obligation::UnansweredIsNoDecline, unanswered_is_no_decline);
}

async fn unanswered_is_no_decline<B: Bench>(bench: B) {
    let charge = opened(&bench, Case::AnswerLost).await;
    let client = bench.client();
    bench.lose_answer(Asked::Confirm);
    let lost = client.confirm(&charge).await;
    assert!(matches!(lost, Err(PartnerError::Unanswered(_))), "{lost:?}");
    assert!(is_captured(&client.look_up(&charge).await));
    assert_eq!(bench.taken(), [B::FIRST]);
}

#[tokio::test]
async fn looking_a_charge_up_changes_nothing() {
    of_every_partner!(Obligation::LookingChangesNothing, looking_changes_nothing);
}

async fn looking_changes_nothing<B: Bench>(_: B) {
    for case in [Case::Good, Case::Declined] {
        let bench = B::new();
        let charge = answered(&opened(&bench, case).await);
        let client = bench.client();
        for confirmed in [false, true] {
            if confirmed {
                client.confirm(&charge).await.unwrap();
            }
            let (taken, first) = (bench.taken(), client.look_up(&charge).await.unwrap());
            for _ in 0..3 {
                assert_eq!(client.look_up(&charge).await.unwrap(), first, "{case:?}");
            }
            assert_eq!(bench.taken(), taken, "{case:?}");
        }
        // The confirmation was the first one, whatever was looked up before it.
        assert_eq!(bench.taken().len(), usize::from(case == Case::Good));
    }
}

#[tokio::test]
async fn a_charge_that_is_closed_takes_nothing_afterwards() {
    of_every_partner!(Obligation::ClosedIsFinal, closed_is_final);
}

async fn closed_is_final<B: Bench>(_: B) {
    let hours = [Duration::ZERO, Duration::from_hours(4)];
    for (case, confirmed) in [
        (Case::Good, false),
        (Case::Declined, false),
        (Case::Declined, true),
        (Case::Good, true),
    ] {
        for wait in hours {
            let at = format!("{case:?}, confirmed: {confirmed}, {wait:?}");
            let bench = B::new();
            let charge = answered(&opened(&bench, case).await);
            let client = bench.client();
            if confirmed {
                client.confirm(&charge).await.unwrap();
            }
            bench.pass(wait);
            let taken = bench.taken();
            let status = client.cancel(&charge).await.unwrap();
            if !taken.is_empty() {
                assert!(!is_final(&status), "{at}: {status:?}");
                continue;
            }
            assert_eq!(bench.taken(), taken, "{at}");
            bench.all_is_good();
            // A frozen worker wakes, and a worker of the next attempt continues with this charge.
            for attempt in [1, 2] {
                for method in [B::FIRST, B::BAD, B::OTHER] {
                    let mut late = charge.clone();
                    late.request.attempt = attempt;
                    late.request.agreement = Some(agreement::<B>(method));
                    late.method = if attempt == 1 {
                        charge.method.clone()
                    } else {
                        late.request.method()
                    };
                    let result = client.confirm(&late).await;
                    if is_final(&status) {
                        assert!(!is_captured(&result), "{at}, {status:?}, then {result:?}");
                        assert!(bench.taken().is_empty(), "{at}, {status:?}");
                    }
                }
            }
            // A charge that is not closed is captured only once.
            assert!(bench.taken().len() <= 1, "{at}: {:?}", bench.taken());
        }
    }
}

#[tokio::test]
async fn only_the_account_that_opened_a_charge_says_that_it_has_expired_and_not_while_it_is_asked()
{
    of_every_partner!(Obligation::ExpiryIsProven, expiry_is_proven);
}

async fn expiry_is_proven<B: Bench>(bench: B) {
    let charge = opened(&bench, Case::Good).await;
    let client = bench.client();
    let elsewhere = PartnerAccount::new(client.name(), "elsewhere");
    for wait in [4, 25] {
        bench.pass(Duration::from_hours(wait));
        let looked = client.look_up(&charge).await;
        assert!(
            !has_expired(&looked),
            "{wait}: a confirmation is unanswered"
        );
        // Charges whose account is unknown or another one.
        for account in [None, Some(elsewhere.clone())] {
            let mut foreign = answered(&charge);
            foreign.account = account;
            assert!(!has_expired(&client.look_up(&foreign).await), "{wait}");
        }
        if let Some(stranger) = bench.stranger() {
            let charge = answered(&charge);
            assert!(!has_expired(&stranger.look_up(&charge).await), "{wait}");
            assert!(!has_expired(&stranger.cancel(&charge).await), "{wait}");
        }
        let own = client.look_up(&answered(&charge)).await;
        assert_eq!(has_expired(&own), B::LIVES.is_some(), "{wait}: {own:?}");
    }
    // Closing requests no confirmation any more: an old unanswered one no longer keeps the charge
    // open, but one that may still arrive does.
    let cancelled = client.cancel(&charge).await;
    assert_eq!(has_expired(&cancelled), B::LIVES.is_some(), "{cancelled:?}");
    let mut asked_just_now = charge.clone();
    asked_just_now.unanswered_since = Some(bench.now());
    let cancelled = client.cancel(&asked_just_now).await;
    assert!(!has_expired(&cancelled), "a confirmation may arrive");
}

#[tokio::test]
async fn a_charge_is_given_back_once_however_often_it_is_asked() {
    of_every_partner!(Obligation::RefundsOnce, refunds_once);
}

async fn refunds_once<B: Bench>(bench: B) {
    let charge = opened(&bench, Case::Good).await;
    let (one, other) = (bench.client(), bench.client());
    assert!(is_captured(&one.confirm(&charge).await));
    assert_eq!(one.refund_status(&charge).await.unwrap(), None);
    assert_eq!(bench.given_back(), 0);
    bench.lose_answer(Asked::Refund);
    let lost = one.refund(&charge).await;
    assert!(matches!(lost, Err(PartnerError::Unanswered(_))), "{lost:?}");
    let (first, second) = join(one.refund(&charge), other.refund(&charge)).await;
    assert_eq!(first.unwrap(), RefundStatus::Refunded);
    assert_eq!(second.unwrap(), RefundStatus::Refunded);
    // Longer than any partner keeps an idempotency key.
    bench.pass(Duration::from_hours(46 * 24));
    assert_eq!(one.refund(&charge).await.unwrap(), RefundStatus::Refunded);
    let standing = one.refund_status(&charge).await.unwrap();
    assert_eq!(standing, Some(RefundStatus::Refunded));
    assert_eq!((bench.given_back(), bench.taken().len()), (1, 1));
}

#[tokio::test]
async fn an_account_is_the_same_for_every_client_with_its_credentials() {
    of_every_partner!(Obligation::AccountIsStable, account_is_stable);
}

async fn account_is_stable<B: Bench>(bench: B) {
    let account = bench.client().account();
    let charge = opened(&bench, Case::Good).await;
    assert!(is_captured(&bench.client().confirm(&charge).await));
    bench.pass(Duration::from_hours(25));
    assert_eq!(bench.client().account(), account);
    // It is stored as a text.
    assert_eq!(
        PartnerAccount::parse(account.as_str()).as_ref(),
        Some(&account)
    );
    if let Some(stranger) = bench.stranger() {
        assert_ne!(stranger.account(), account);
        assert_eq!(stranger.account().partner(), account.partner());
    }
}

const CUSTOMER: &str = "cus_played";

/// A clock that the test controls.
struct Time {
    runtime: Runtime,
    millis: Arc<AtomicI64>,
}

impl Time {
    fn new() -> Self {
        let (runtime, millis) = clock();
        Self { runtime, millis }
    }

    fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

struct AtStripe {
    time: Time,
    played: StripeDouble,
    front: Front,
}

impl Bench for AtStripe {
    const NAME: &'static str = "Stripe";
    const CANNOT: &'static [(Obligation, &'static str)] = &[];
    const LIVES: Option<Duration> = None;
    const WITH: PartnerName = PartnerName::Stripe;
    const FIRST: &'static str = "pm_card_visa";
    const OTHER: &'static str = "pm_card_mastercard";
    const BAD: &'static str = "pm_card_chargeDeclinedInsufficientFunds";

    fn new() -> Self {
        let time = Time::new();
        let played = StripeDouble::new(time.runtime.clone());
        for method in [Self::FIRST, Self::OTHER, Self::BAD] {
            played.attach(CUSTOMER, method);
        }
        let front = played.front();
        Self {
            time,
            played,
            front,
        }
    }

    fn client(&self) -> impl BillingPartner {
        let https = Https::with_connector(self.front.connector(), "http://stripe.test");
        let key = Secret::new(StripeDouble::api_key());
        Stripe::new(https, key, self.time.runtime.clone())
    }

    fn now(&self) -> Timestamp {
        self.time.runtime.now()
    }

    fn pass(&self, time: Duration) {
        self.time.pass(time);
    }

    fn lose_answer(&self, asked: Asked) {
        let operation = match asked {
            Asked::Confirm => Operation::Confirm,
            Asked::Refund => Operation::Refund,
        };
        self.played.plan(operation, Mishap::AnswerLost);
    }

    fn all_is_good(&self) {
        self.played
            .change(Self::BAD, |method| method.outcome = Outcome::Succeeds);
    }

    fn taken(&self) -> Vec<String> {
        self.played.charged_methods()
    }

    fn given_back(&self) -> usize {
        self.played.given_back().len()
    }
}

struct AtPayPal {
    time: Time,
    double: Arc<PayPalDouble>,
    front: Front,
}

impl AtPayPal {
    fn with_credentials(&self, client: &str) -> PayPal {
        let https = Https::with_connector(self.front.connector(), "http://paypal.test");
        let secret = Secret::new(PayPalDouble::SECRET);
        PayPal::new(https, client.to_owned(), secret, self.time.runtime.clone())
    }
}

impl Bench for AtPayPal {
    const NAME: &'static str = "PayPal";
    const CANNOT: &'static [(Obligation, &'static str)] = &[];
    const LIVES: Option<Duration> = Some(Duration::from_hours(3));
    const WITH: PartnerName = PartnerName::PayPal;
    const FIRST: &'static str = "card_one";
    const OTHER: &'static str = "card_two";
    const BAD: &'static str = "card_bad";

    fn new() -> Self {
        let time = Time::new();
        let double = Arc::new(PayPalDouble::new(time.runtime.clone()));
        double.set_habits(Habits {
            refusals_are_repeated: false,
            ..Habits::default()
        });
        double.vault_card(Self::FIRST, []);
        double.vault_card(Self::OTHER, []);
        let refused = PayPalOutcome::Refused("INSTRUMENT_DECLINED");
        double.vault_card(Self::BAD, [refused]);
        let front = Front::new(double.clone());
        Self {
            time,
            double,
            front,
        }
    }

    fn client(&self) -> impl BillingPartner {
        self.with_credentials(PayPalDouble::CLIENT)
    }

    fn stranger(&self) -> Option<impl BillingPartner> {
        Some(self.with_credentials(PayPalDouble::OTHER_CLIENT))
    }

    fn now(&self) -> Timestamp {
        self.time.runtime.now()
    }

    fn pass(&self, time: Duration) {
        self.time.pass(time);
    }

    fn lose_answer(&self, asked: Asked) {
        let part = match asked {
            Asked::Confirm => "/capture",
            Asked::Refund => "/refund",
        };
        self.front.plan("POST", part, Mishap::AnswerLost);
    }

    fn taken(&self) -> Vec<String> {
        self.double.charged_tokens()
    }

    fn given_back(&self) -> usize {
        self.double.given_back().len()
    }
}

/// The sandbox with the ledger of the local stack.
struct AtSandbox {
    time: Time,
    directory: PathBuf,
}

impl Drop for AtSandbox {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Bench for AtSandbox {
    const NAME: &'static str = "the sandbox";
    const CANNOT: &'static [(Obligation, &'static str)] = &[
        (
            Obligation::ByTheMethodThatHolds,
            "it has no agreements: no money moves",
        ),
        (
            Obligation::ReplacesTheClosed,
            "it has no payment methods that could be replaced",
        ),
        (
            Obligation::ClosedIsFinal,
            "it does not record cancellations: a later confirmation moves no money either",
        ),
        (
            Obligation::RefundsOnce,
            "it does not record refunds: no money was taken",
        ),
    ];
    const LIVES: Option<Duration> = None;
    const WITH: PartnerName = PartnerName::Stripe;
    const FIRST: &'static str = "any";
    const OTHER: &'static str = "any";
    const BAD: &'static str = "any";

    fn new() -> Self {
        let name = format!("obligations-{}", Runtime::system().token());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        Self {
            time: Time::new(),
            directory,
        }
    }

    fn client(&self) -> impl BillingPartner {
        let ledger = Ledger::new(&self.directory).unwrap();
        Sandbox::new(self.time.runtime.clone()).with_ledger(ledger)
    }

    fn now(&self) -> Timestamp {
        self.time.runtime.now()
    }

    fn pass(&self, time: Duration) {
        self.time.pass(time);
    }

    fn customer(case: Case) -> &'static str {
        match case {
            Case::Good => "8080",
            Case::Declined => "sandbox-insufficient-funds",
            Case::AnswerLost => "sandbox-timeout",
        }
    }

    /// The customer determines it.
    fn lose_answer(&self, _asked: Asked) {}

    fn taken(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.directory).unwrap();
        files.map(|_| Self::FIRST.to_owned()).collect()
    }

    fn given_back(&self) -> usize {
        0
    }
}

/// The billing partner of most function tests.
struct AtPlayed {
    time: Time,
    played: PlayedPartner,
}

impl Bench for AtPlayed {
    const NAME: &'static str = "the played partner";
    const CANNOT: &'static [(Obligation, &'static str)] = &[];
    const LIVES: Option<Duration> = None;
    const WITH: PartnerName = PartnerName::Stripe;
    const FIRST: &'static str = "pm_first";
    const OTHER: &'static str = "pm_other";
    const BAD: &'static str = "pm_bad";

    fn new() -> Self {
        let played = PlayedPartner::default();
        played.needs_agreement(Self::WITH);
        Self {
            time: Time::new(),
            played,
        }
    }

    fn client(&self) -> impl BillingPartner {
        self.played.clone()
    }

    fn now(&self) -> Timestamp {
        self.time.runtime.now()
    }

    fn pass(&self, time: Duration) {
        self.time.pass(time);
    }

    fn plan(&self, case: Case) {
        if case == Case::Declined {
            self.played.script([ChargeStatus::Declined {
                code: "insufficient_funds".to_owned(),
                retryable: true,
            }]);
        }
    }

    fn lose_answer(&self, asked: Asked) {
        self.played.lose_answer(match asked {
            Asked::Confirm => "confirm",
            Asked::Refund => "refund",
        });
    }

    fn taken(&self) -> Vec<String> {
        self.played.captured_by()
    }

    fn given_back(&self) -> usize {
        self.played.refunded().len()
    }
}

/// The abstract partner of the simulator.
struct AtAbstract<const ORDERS: bool>(AbstractPartner);
type AtIntents = AtAbstract<false>;
type AtOrders = AtAbstract<true>;

impl<const ORDERS: bool> Bench for AtAbstract<ORDERS> {
    const NAME: &'static str = if ORDERS {
        "the simulator's orders"
    } else {
        "the simulator's intents"
    };
    const CANNOT: &'static [(Obligation, &'static str)] = &[];
    const LIVES: Option<Duration> = if ORDERS {
        Some(Duration::from_hours(3))
    } else {
        None
    };
    const WITH: PartnerName = if ORDERS {
        PartnerName::PayPal
    } else {
        PartnerName::Stripe
    };
    const FIRST: &'static str = "vault_good";
    const OTHER: &'static str = "vault_other";
    const BAD: &'static str = "vault_bad";

    fn new() -> Self {
        Self(AbstractPartner::new(if ORDERS {
            Protocol::Orders
        } else {
            Protocol::Intents
        }))
    }

    fn client(&self) -> impl BillingPartner {
        self.0.client()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn pass(&self, time: Duration) {
        self.0.pass(time);
    }

    fn lose_answer(&self, _asked: Asked) {
        self.0.lose_answer();
    }

    fn taken(&self) -> Vec<String> {
        self.0.taken()
    }

    fn given_back(&self) -> usize {
        self.0.given_back()
    }
}
