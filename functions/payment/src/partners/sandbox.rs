//! The sandbox: no account, no network, and **no money moves**.
//!
//! It answers as the contract's example does and keeps no state. The outcome of a charge depends
//! only on the customer, the attempt, and the time, so confirming a reference again gives the same
//! answer. On the local stack it also keeps a [`Ledger`]. Customers with one of these IDs show what
//! else can happen:
//!
//! | customer ID | what happens |
//! | --- | --- |
//! | `sandbox-insufficient-funds` | every attempt is declined, `insufficient_funds`, retryable |
//! | `sandbox-stolen-card` | every attempt is declined, `stolen_card`, not retryable |
//! | `sandbox-declined-once` | the first attempt is declined, the second captured |
//! | `sandbox-action-required` | the customer must act and never does |
//! | `sandbox-acts-later` | the customer must act, and counts as having acted 60 s after the charge was opened |
//! | `sandbox-pending` | pending until 60 s after it was opened, then captured |
//! | `sandbox-timeout` | the answer to the confirmation is lost; a look-up says captured |
//! | `sandbox-outage` | nothing can be opened |

mod ledger;

use std::time::Duration;

use domain::{Card, NextAction, PartnerAccount, PartnerName};
use messages::PartnerReference;
use platform::runtime::Runtime;

pub use ledger::{Entry, Ledger};

use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, RefundStatus, ShownRefund,
};

/// The time until a pending charge settles, or a customer acts.
const SETTLES_AFTER: Duration = Duration::from_mins(1);

/// A partner that charges no customer.
#[derive(Clone, Debug)]
pub struct Sandbox {
    runtime: Runtime,
    ledger: Option<Ledger>,
}

impl Sandbox {
    /// A sandbox with this clock.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        tracing::warn!("billing partner is the sandbox: no money moves");
        Self {
            runtime,
            ledger: None,
        }
    }

    /// A sandbox that records its confirmed charges, so that a test can count them.
    ///
    /// It remembers nothing else. It opens a new charge for each request, like a partner that has
    /// forgotten the idempotency key, and a charge that it did not record was never confirmed.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        Self {
            ledger: Some(ledger),
            ..self
        }
    }

    fn answers(&self) -> Result<(), PartnerError> {
        self.ledger.as_ref().map_or(Ok(()), Ledger::answers)
    }

    fn outcome(&self, charge: &OpenCharge) -> ChargeStatus {
        let declined = |code: &str, retryable| ChargeStatus::Declined {
            code: code.to_owned(),
            retryable,
        };
        match charge.request.customer.as_str() {
            "sandbox-insufficient-funds" => declined("insufficient_funds", true),
            "sandbox-stolen-card" => declined("stolen_card", false),
            "sandbox-declined-once" if charge.request.attempt == 1 => {
                declined("insufficient_funds", true)
            }
            "sandbox-action-required" => ChargeStatus::ActionRequired,
            "sandbox-acts-later" if self.runtime.now() < charge.opened_at.plus(SETTLES_AFTER) => {
                ChargeStatus::ActionRequired
            }
            "sandbox-pending" if self.runtime.now() < charge.opened_at.plus(SETTLES_AFTER) => {
                ChargeStatus::Pending
            }
            _ => ChargeStatus::Captured(example_card()),
        }
    }

    /// The state of a charge by the ledger: it can be captured or pending only once it was
    /// confirmed.
    fn standing(&self, ledger: &Ledger, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        match self.outcome(charge) {
            ChargeStatus::Captured(_) | ChargeStatus::Pending
                if !ledger.holds(&charge.reference)? =>
            {
                Ok(ChargeStatus::Unconfirmed)
            }
            status => Ok(status),
        }
    }
}

/// The card of the contract's example.
fn example_card() -> Card {
    Card {
        first_name: Some("Bob".to_owned()),
        last_name: Some("Norman".to_owned()),
        first_digits: Some("424242".to_owned()),
        last_digits: Some("4242".to_owned()),
        brand: Some("visa".to_owned()),
        expiry_month: Some(9),
        expiry_year: Some(2024),
    }
}

impl BillingPartner for Sandbox {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        self.answers()?;
        if request.customer.as_str() == "sandbox-outage" {
            return Err(PartnerError::Unavailable(
                "the sandbox plays an outage".into(),
            ));
        }
        let reference = format!("sandbox_{}_{}", request.invoice, request.attempt);
        Ok(match &self.ledger {
            None => reference,
            Some(_) => format!("{reference}_{}", self.runtime.token()),
        })
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.answers()?;
        let outcome = self.outcome(charge);
        if let Some(ledger) = &self.ledger
            && matches!(outcome, ChargeStatus::Captured(_) | ChargeStatus::Pending)
        {
            ledger.record(charge, &self.runtime.token())?;
        }
        if charge.request.customer.as_str() == "sandbox-timeout" {
            return Err(PartnerError::Unanswered(
                "the sandbox plays a lost answer".into(),
            ));
        }
        Ok(outcome)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.answers()?;
        match (&self.ledger, self.outcome(charge)) {
            // Confirming gives this outcome too, every time.
            (_, ChargeStatus::Declined { .. }) => Ok(ChargeStatus::Unconfirmed),
            (Some(ledger), _) => self.standing(ledger, charge),
            (None, outcome) => Ok(match charge.request.customer.as_str() {
                // If the sandbox cannot know whether the charge was confirmed, it reports that it
                // was not: confirming gives the same outcome every time.
                "sandbox-timeout" | "sandbox-pending" | "sandbox-action-required" => outcome,
                "sandbox-acts-later" if outcome == ChargeStatus::ActionRequired => outcome,
                _ => ChargeStatus::Unconfirmed,
            }),
        }
    }

    /// The page does not exist: the domain `invalid` never resolves (RFC 2606).
    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        let url = format!("https://sandbox.invalid/approve/{}", charge.reference);
        let action = NextAction {
            redirect_url: url.parse().ok(),
            client_secret: None,
        };
        Ok((ChargeStatus::ActionRequired, action))
    }

    async fn refund(&self, _charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        self.answers()?;
        Ok(RefundStatus::Refunded)
    }

    async fn refund_part(
        &self,
        _charge: &OpenCharge,
        _part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        Ok(PartAnswer::Stands(RefundStatus::Refunded))
    }

    /// The sandbox stores none, and no refund can be made elsewhere.
    async fn shown_refunds(
        &self,
        _charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        Ok(None)
    }

    fn account(&self) -> PartnerAccount {
        PartnerAccount::new(PartnerName::Sandbox, "")
    }

    fn name(&self) -> PartnerName {
        PartnerName::Sandbox
    }

    /// The sandbox's refunds never fail.
    async fn refund_status(
        &self,
        _charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        Ok(Some(RefundStatus::Refunded))
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        None
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let standing = match &self.ledger {
            Some(ledger) => self.standing(ledger, charge)?,
            None => self.outcome(charge),
        };
        Ok(match standing {
            // No record is kept: a confirmation of the charge after this moves no money either.
            ChargeStatus::ActionRequired | ChargeStatus::Unconfirmed => ChargeStatus::Cancelled,
            status => status,
        })
    }

    /// No customer is charged, so no charge is disputed.
    async fn dispute(&self, _id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use domain::{Currency, CustomerId, Money, OrderId, Timestamp};

    use super::*;

    /// A directory for one test, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let name = format!("sandbox-ledger-{}", Runtime::system().token());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn ledger(&self) -> Ledger {
            Ledger::new(&self.0).unwrap()
        }

        /// The names of all files, sorted.
        fn files(&self) -> Vec<String> {
            let mut names: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn request(customer: &str) -> ChargeRequest {
        let currency: Currency = "USD".parse().unwrap();
        ChargeRequest {
            invoice: OrderId::from_time(0, [0; 10]).invoice(),
            attempt: 1,
            customer: CustomerId::parse(customer).unwrap(),
            amount: Money::from_stored("200").unwrap(),
            currency,
            agreement: None,
            replaces: None,
        }
    }

    async fn opened(sandbox: &Sandbox, customer: &str) -> OpenCharge {
        let request = request(customer);
        let reference = sandbox.open(&request).await.unwrap();
        let at = Timestamp::from_millis(0);
        OpenCharge::new(request, reference, sandbox, at)
    }

    /// A sandbox whose clock stands at `now`, in milliseconds.
    fn sandbox_at(now: &Arc<AtomicI64>) -> Sandbox {
        let now = Arc::clone(now);
        let system = Runtime::system();
        Sandbox::new(Runtime::new(
            move || Timestamp::from_millis(now.load(Ordering::SeqCst)),
            move |bytes| {
                let token = system.token();
                bytes.copy_from_slice(&token.as_bytes()[..bytes.len()]);
            },
        ))
    }

    fn captured() -> ChargeStatus {
        ChargeStatus::Captured(example_card())
    }

    #[tokio::test]
    async fn a_charge_is_written_down_once_however_often_it_is_confirmed() {
        let scratch = Scratch::new();
        let sandbox = Sandbox::new(Runtime::system()).with_ledger(scratch.ledger());
        let charge = opened(&sandbox, "8080").await;
        assert_eq!(
            sandbox.look_up(&charge).await.unwrap(),
            ChargeStatus::Unconfirmed
        );
        assert_eq!(scratch.files(), [""; 0]);

        for _ in 0..3 {
            assert_eq!(sandbox.confirm(&charge).await.unwrap(), captured());
        }
        assert_eq!(scratch.files(), [format!("{}.json", charge.reference)]);
        let text = fs::read_to_string(scratch.0.join(&scratch.files()[0])).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"reference":"{}","invoiceId":"{}","attempt":1,"amount":200.0,"currency":"USD"}}"#,
                charge.reference, charge.request.invoice
            )
        );
        // Another process reads the same.
        let other = Sandbox::new(Runtime::system()).with_ledger(scratch.ledger());
        assert_eq!(other.look_up(&charge).await.unwrap(), captured());
    }

    #[tokio::test]
    async fn with_a_ledger_every_opening_is_a_charge_of_its_own_and_without_one_it_is_the_same() {
        let scratch = Scratch::new();
        let plain = Sandbox::new(Runtime::system());
        let first = plain.open(&request("8080")).await.unwrap();
        assert_eq!(plain.open(&request("8080")).await.unwrap(), first);

        let forgetful = plain.with_ledger(scratch.ledger());
        let one = opened(&forgetful, "8080").await;
        let two = opened(&forgetful, "8080").await;
        assert_ne!(one.reference, two.reference);
        forgetful.confirm(&one).await.unwrap();
        assert_eq!(
            forgetful.look_up(&two).await.unwrap(),
            ChargeStatus::Unconfirmed
        );
        forgetful.confirm(&two).await.unwrap();
        assert_eq!(scratch.files().len(), 2);
    }

    #[tokio::test]
    async fn only_what_takes_money_is_written_down() {
        for (customer, confirmed, files) in [
            ("sandbox-insufficient-funds", "declined", 0),
            ("sandbox-stolen-card", "declined", 0),
            ("sandbox-declined-once", "declined", 0),
            ("sandbox-action-required", "action required", 0),
            ("sandbox-acts-later", "action required", 0),
            ("sandbox-pending", "pending", 1),
            ("8080", "captured", 1),
        ] {
            let scratch = Scratch::new();
            let clock = Arc::new(AtomicI64::new(0));
            let sandbox = sandbox_at(&clock).with_ledger(scratch.ledger());
            let charge = opened(&sandbox, customer).await;
            let status = match sandbox.confirm(&charge).await.unwrap() {
                ChargeStatus::Declined { .. } => "declined",
                ChargeStatus::ActionRequired => "action required",
                ChargeStatus::Pending => "pending",
                ChargeStatus::Captured(_) => "captured",
                ChargeStatus::Unconfirmed | ChargeStatus::Cancelled | ChargeStatus::Expired => {
                    "neither"
                }
            };
            assert_eq!(
                (status, scratch.files().len()),
                (confirmed, files),
                "{customer}"
            );
            // A charge that was not captured is not shown as captured, and can be cancelled.
            if status == "declined" {
                let standing = sandbox.look_up(&charge).await.unwrap();
                assert_eq!(standing, ChargeStatus::Unconfirmed, "{customer}");
                let cancelled = sandbox.cancel(&charge).await.unwrap();
                assert!(matches!(cancelled, ChargeStatus::Declined { .. }));
            }
        }
    }

    #[tokio::test]
    async fn a_lost_answer_and_a_late_settlement_are_found_by_asking() {
        let clock = Arc::new(AtomicI64::new(0));
        let scratch = Scratch::new();
        for sandbox in [
            sandbox_at(&clock),
            sandbox_at(&clock).with_ledger(scratch.ledger()),
        ] {
            clock.store(0, Ordering::SeqCst);
            let lost = opened(&sandbox, "sandbox-timeout").await;
            let answer = sandbox.confirm(&lost).await;
            assert!(matches!(answer, Err(PartnerError::Unanswered(_))));
            assert_eq!(sandbox.look_up(&lost).await.unwrap(), captured());

            let late = opened(&sandbox, "sandbox-pending").await;
            assert_eq!(sandbox.confirm(&late).await.unwrap(), ChargeStatus::Pending);
            clock.store(59_999, Ordering::SeqCst);
            assert_eq!(sandbox.look_up(&late).await.unwrap(), ChargeStatus::Pending);
            clock.store(60_000, Ordering::SeqCst);
            assert_eq!(sandbox.look_up(&late).await.unwrap(), captured());
        }
        assert_eq!(scratch.files().len(), 2);
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_was_not_taken() {
        assert!(Ledger::new("/nowhere").is_err());
        let scratch = Scratch::new();
        let sandbox = Sandbox::new(Runtime::system()).with_ledger(scratch.ledger());
        let charge = opened(&sandbox, "8080").await;
        fs::remove_dir(&scratch.0).unwrap();
        let answer = sandbox.confirm(&charge).await;
        assert!(matches!(answer, Err(PartnerError::Unavailable(_))));
        fs::create_dir(&scratch.0).unwrap();
        assert_eq!(
            sandbox.look_up(&charge).await.unwrap(),
            ChargeStatus::Unconfirmed
        );
    }
}
