//! What customers have agreed to: one item for each customer and billing partner.
//!
//! An approval replaces what was there, so the last one to be written holds. A revoked agreement
//! keeps its item and loses its tokens: there is nothing left to charge with.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};

use super::attributes::{Corrupt, Item, Reader, n, s};
use super::idempotency::key_use;
use super::{KeyRecord, KeyUse, Store, StoreError, TRANSACTION_TRIES, failed};
use crate::domain::{
    Agreement, AgreementRecord, AgreementState, CustomerId, PartnerName, PartnerToken, Text,
    Timestamp,
};

const APPROVED: &str = AgreementState::APPROVED;
const REVOKED: &str = AgreementState::REVOKED;

/// What became of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It was written.
    Written,
    /// Its idempotency key was answered before, and nothing was written: a late repeat does not
    /// bring back what was revoked since.
    Answered,
    /// Its idempotency key was used with another body.
    KeyReused,
}

/// What became of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// It is revoked, now or before.
    Revoked(AgreementRecord),
    /// The customer never agreed with this partner.
    NeverApproved,
}

impl Store {
    /// Keeps a customer's approval in place of any earlier one with the same partner: one write, or
    /// one transaction with the key's row.
    pub async fn approve_agreement(
        &self,
        customer: &CustomerId,
        agreement: &Agreement,
        name: Option<&Text>,
        key: Option<KeyRecord<'_>>,
        now: Timestamp,
    ) -> Result<Approval, StoreError> {
        let item = item(customer, agreement, name, now);
        let table = self.customers_table()?;
        let Some(key) = key else {
            self.client
                .put_item()
                .table_name(table)
                .set_item(Some(item))
                .send()
                .await
                .map_err(|error| failed("PutItem", &error))?;
            return Ok(Approval::Written);
        };
        for attempt in 1..=TRANSACTION_TRIES {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(item.clone()))
                .build()
                .map_err(|_| StoreError::NotConfigured("Customers"))?;
            let key_row = self.key_answer(&key, now)?;
            let transaction = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().put(put).build())
                .transact_items(TransactWriteItem::builder().put(key_row).build());
            let Err(error) = transaction.send().await else {
                return Ok(Approval::Written);
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) =
                error.as_service_error()
            else {
                return Err(failed("TransactWriteItems", &error));
            };
            let row = canceled
                .cancellation_reasons()
                .get(1)
                .filter(|reason| reason.code() == Some("ConditionalCheckFailed"))
                .map(|reason| reason.item().cloned().unwrap_or_default());
            if let Some(row) = row {
                match key_use(&row, key.body_hash)? {
                    KeyUse::Answered(_) => return Ok(Approval::Answered),
                    KeyUse::OtherBody => return Ok(Approval::KeyReused),
                    KeyUse::Fits => {}
                }
            }
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Takes a customer's approval back; one write. The first revocation's time stays.
    pub async fn revoke_agreement(
        &self,
        customer: &CustomerId,
        partner: PartnerName,
        now: Timestamp,
    ) -> Result<Revocation, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(self.customers_table()?)
            .key("customerId", s(customer.as_str()))
            .key("partner", s(partner.as_str()))
            .update_expression(
                "SET #state = :revoked, revokedAt = :now \
                 REMOVE partnerCustomerId, paymentMethodId, #name",
            )
            .condition_expression("#state = :approved")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#name", "name")
            .expression_attribute_values(":approved", s(APPROVED))
            .expression_attribute_values(":revoked", s(REVOKED))
            .expression_attribute_values(":now", n(now.millis()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let standing = match update.send().await {
            Ok(output) => output.attributes,
            Err(SdkError::ServiceError(error)) => match error.err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => refused.item.clone(),
                _ => return Err(failed("UpdateItem", &SdkError::ServiceError(error))),
            },
            Err(error) => return Err(failed("UpdateItem", &error)),
        };
        Ok(match standing {
            Some(item) => Revocation::Revoked(read(&item)?),
            None => Revocation::NeverApproved,
        })
    }

    /// All that is kept of a customer, by partner; one consistent query.
    pub async fn agreements(
        &self,
        customer: &CustomerId,
    ) -> Result<Vec<AgreementRecord>, StoreError> {
        let output = self
            .client
            .query()
            .table_name(self.customers_table()?)
            .consistent_read(true)
            .key_condition_expression("customerId = :customer")
            .expression_attribute_values(":customer", s(customer.as_str()))
            .send()
            .await
            .map_err(|error| failed("Query", &error))?;
        output.items().iter().map(read).collect()
    }

    /// What the customer may be charged by at that partner, if the approval holds; one consistent
    /// read, so that a revocation that was answered is seen.
    pub async fn approved_agreement(
        &self,
        customer: &CustomerId,
        partner: PartnerName,
    ) -> Result<Option<Agreement>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(self.customers_table()?)
            .key("customerId", s(customer.as_str()))
            .key("partner", s(partner.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| failed("GetItem", &error))?;
        let record = output.item.as_ref().map(read).transpose()?;
        Ok(record.and_then(|record| match record.state {
            AgreementState::Approved(agreement) => Some(agreement),
            AgreementState::Revoked { .. } => None,
        }))
    }
}

fn item(customer: &CustomerId, agreement: &Agreement, name: Option<&Text>, now: Timestamp) -> Item {
    let attributes = [
        ("customerId", Some(s(customer.as_str()))),
        ("partner", Some(s(agreement.partner.as_str()))),
        ("state", Some(s(APPROVED))),
        ("approvedAt", Some(n(now.millis()))),
        (
            "partnerCustomerId",
            agreement.partner_customer.as_ref().map(|t| s(t.as_str())),
        ),
        (
            "paymentMethodId",
            Some(s(agreement.payment_method.as_str())),
        ),
        ("name", name.map(|name| s(name.as_str()))),
    ];
    attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn read(item: &Item) -> Result<AgreementRecord, StoreError> {
    let reader = Reader(item);
    let record = || -> Result<AgreementRecord, Corrupt> {
        let partner = reader.required("partner", |text| text.parse().ok())?;
        let token = |text: &str| PartnerToken::parse(text).ok();
        let state = match reader.required_text("state")? {
            APPROVED => AgreementState::Approved(Agreement {
                partner,
                partner_customer: reader.parsed("partnerCustomerId", token)?,
                payment_method: reader.required("paymentMethodId", token)?,
            }),
            REVOKED => AgreementState::Revoked {
                at: reader.required_time("revokedAt")?,
            },
            _ => return Err(Corrupt("state")),
        };
        Ok(AgreementRecord {
            partner,
            approved_at: reader.required_time("approvedAt")?,
            name: reader.parsed("name", |text| Text::parse(text).ok())?,
            state,
        })
    };
    record().map_err(|source| StoreError::Corrupt {
        table: "Customers",
        source,
    })
}
