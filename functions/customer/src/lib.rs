//! Stores customers' agreements to be charged by a billing partner.
//!
//! `POST /api/customer/billing.json`, `GET` and `DELETE /api/customer/{customerId}/billing`.
//!
//! The service never returns the partner's tokens: together with the shop's key, they are enough to
//! charge the customer.

mod request;

use domain::{AgreementRecord, AgreementState, CustomerId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use platform::runtime::Runtime;
use serde::Serialize;
use service::claims::claim_key;
use service::error::{Error, Missing};
use service::http::{Answer, Call, Effect, Route};
use service::lambda::Function;
use store::{Approval, KeyRecord, Revocation, Store};

use request::{ApprovalRequest, partners_to_revoke};

/// Scope of idempotency keys of approvals.
const ENDPOINT: &str = "agreement";

/// The customer service.
#[derive(Clone, Debug)]
pub struct Customers {
    store: Store,
    runtime: Runtime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApprovalBody<'a> {
    customer_id: &'a str,
    partner: &'static str,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CustomerBody<'a> {
    customer_id: &'a str,
    agreements: Vec<AgreementBody<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AgreementBody<'a> {
    partner: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    approved_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl Customers {
    /// Builds the service over its store.
    #[must_use]
    pub fn new(store: Store, runtime: Runtime) -> Self {
        Self { store, runtime }
    }

    /// Stores the approval. An idempotency key takes effect once: a repeat after a revocation is
    /// answered but does not approve again. An overtaken approval counts as the earlier one and
    /// receives the same answer.
    async fn approve(&self, call: &Call) -> Result<Answer, Error> {
        let request = ApprovalRequest::read(call.body()?)?;
        let ApprovalRequest {
            customer,
            agreement,
            name,
        } = &request;
        call.caller.check(customer, Missing::Customer)?;
        let body = ApprovalBody {
            customer_id: customer.as_str(),
            partner: agreement.partner.as_str(),
            status: AgreementState::APPROVED,
        };
        let answer = Answer::created(&body, location(customer))?;
        let now = self.runtime.now();
        if claim_key(&self.store, call, ENDPOINT, now).await?.is_some() {
            return Ok(answer.with_effect(Effect::Before));
        }
        let body_hash = call.body_hash()?;
        let key = call.key_id(ENDPOINT);
        let record = key.as_deref().map(|key| KeyRecord {
            key,
            body: &body_hash,
            answer: answer.body(),
        });
        match self
            .store
            .approve_agreement(customer, agreement, name.as_ref(), record, now)
            .await?
        {
            Approval::Written => {
                tracing::info!(partner = %agreement.partner, "billing agreement approved");
                Ok(answer)
            }
            Approval::Overtaken => {
                tracing::info!(partner = %agreement.partner, "billing agreement overtaken");
                Ok(answer)
            }
            Approval::Answered => Ok(answer.with_effect(Effect::Before)),
            Approval::KeyReused => Err(Error::KeyReused),
        }
    }

    async fn show(&self, customer: &CustomerId) -> Result<Answer, Error> {
        let records = self.store.agreements(customer).await?;
        answer(customer, &records)
    }

    /// Revokes one partner after the other. If the second fails, the first stays revoked, and a
    /// repeat continues from there.
    async fn revoke(&self, call: &Call, customer: &CustomerId) -> Result<Answer, Error> {
        let mut records = Vec::new();
        for partner in partners_to_revoke(call)? {
            let now = self.runtime.now();
            let revocation = self.store.revoke_agreement(customer, partner, now).await;
            let revocation = revocation.map_err(|error| {
                let error = Error::from(error);
                if records.is_empty() {
                    error
                } else {
                    error.after_an_effect()
                }
            });
            match revocation? {
                Revocation::Revoked(record) => {
                    tracing::info!(%partner, "billing agreement revoked");
                    records.push(record);
                }
                Revocation::NeverApproved => {}
            }
        }
        if records.is_empty() {
            return Err(Error::NotFound(Missing::Agreement));
        }
        answer(customer, &records)
    }
}

fn answer(customer: &CustomerId, records: &[AgreementRecord]) -> Result<Answer, Error> {
    let agreements = records.iter().map(|record| AgreementBody {
        partner: record.partner.as_str(),
        status: record.state.as_str(),
        name: record.name.as_ref().map(domain::Text::as_str),
        approved_at: record.approved_at.to_string(),
        revoked_at: match &record.state {
            AgreementState::Approved(_) => None,
            AgreementState::Revoked { at } => Some(at.to_string()),
        },
    });
    Answer::ok(&CustomerBody {
        customer_id: customer.as_str(),
        agreements: agreements.collect(),
    })
}

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The path of a customer's agreements. A customer ID may contain any character; reserved ones are
/// percent-encoded.
fn location(customer: &CustomerId) -> String {
    let id = utf8_percent_encode(customer.as_str(), RESERVED);
    format!("/api/customer/{id}/billing")
}

impl Function for Customers {
    const ROUTES: &'static [Route] = &[Route::Approval, Route::Agreements, Route::Revocation];

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        if call.route() == Route::Approval {
            return self.approve(&call).await;
        }
        let missing = || Error::NotFound(Missing::Customer);
        let id = call.path_parameter("customerId").ok_or_else(missing)?;
        let customer = CustomerId::parse(id).map_err(|_| missing())?;
        call.caller.check(&customer, Missing::Customer)?;
        if call.route() == Route::Revocation {
            self.revoke(&call, &customer).await
        } else {
            self.show(&customer).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_to_its_customer_whatever_the_id_holds() {
        let location = |id| location(&CustomerId::parse(id).unwrap());
        assert_eq!(location("8080"), "/api/customer/8080/billing");
        assert_eq!(
            location("a/b ü%?-._~"),
            "/api/customer/a%2Fb%20%C3%BC%25%3F-._~/billing"
        );
    }
}
