//! The sandbox: no account, no network, and **no money moves**.
//!
//! It answers as the contract's example does and keeps no state: what becomes of a charge follows
//! from the customer, the attempt and the time alone, so confirming a reference again gives the
//! same answer again. Customers whose id is one of these names show what else can happen:
//!
//! | customer id | what happens |
//! | --- | --- |
//! | `sandbox-insufficient-funds` | every attempt is declined, `insufficient_funds`, retryable |
//! | `sandbox-stolen-card` | every attempt is declined, `stolen_card`, not retryable |
//! | `sandbox-declined-once` | the first attempt is declined, the second captured |
//! | `sandbox-action-required` | the customer must act, for ever |
//! | `sandbox-pending` | pending until 60 s after it was opened, then captured |
//! | `sandbox-timeout` | the answer to the confirmation is lost; looking it up says captured |
//! | `sandbox-outage` | nothing can be opened |

use std::time::Duration;

use shared::domain::{Card, PartnerName};
use shared::runtime::Runtime;

use super::{BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PartnerError, RefundStatus};

/// How long a pending charge takes to settle.
const SETTLES_AFTER: Duration = Duration::from_mins(1);

/// A partner that charges nobody.
#[derive(Clone, Debug)]
pub struct Sandbox {
    runtime: Runtime,
}

impl Sandbox {
    /// A sandbox with this clock.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        tracing::warn!("billing partner is the sandbox: no money moves");
        Self { runtime }
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
            "sandbox-pending" if self.runtime.now() < charge.opened_at.plus(SETTLES_AFTER) => {
                ChargeStatus::Pending
            }
            _ => ChargeStatus::Captured(example_card()),
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
        if request.customer.as_str() == "sandbox-outage" {
            return Err(PartnerError::Unavailable(
                "the sandbox plays an outage".into(),
            ));
        }
        Ok(format!("sandbox_{}_{}", request.invoice, request.attempt))
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        if charge.request.customer.as_str() == "sandbox-timeout" {
            return Err(PartnerError::Unanswered(
                "the sandbox plays a lost answer".into(),
            ));
        }
        Ok(self.outcome(charge))
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        Ok(match charge.request.customer.as_str() {
            // Where the sandbox cannot know whether it was confirmed, it says that it was not:
            // confirming gives the same outcome, however often.
            "sandbox-timeout" | "sandbox-pending" | "sandbox-action-required" => {
                self.outcome(charge)
            }
            _ => ChargeStatus::Unconfirmed,
        })
    }

    async fn refund(&self, _charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        Ok(RefundStatus::Refunded)
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        None
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        Ok(self.outcome(charge))
    }
}
