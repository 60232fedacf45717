//! Customers' agreements: one item for each customer and billing partner.
//!
//! An approval replaces the previous one, so the last approval written wins. A revoked agreement
//! keeps its item but loses its tokens, so that it can no longer be charged.
//!
//! Each write raises the item's `version` and requires the version that the decision was based on.
//! A request that arrives late therefore changes nothing.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use domain::{
    Agreement, AgreementRecord, AgreementState, CustomerId, PartnerName, PartnerToken, Text,
    Timestamp,
};

use super::idempotency::key_use;
use super::item::{Corrupt, Item, Reader, n, s};
use super::refused::{complete, unless_refused};
use super::update::{Target, Write};
use super::{KeyRecord, KeyUse, Store, StoreError, TRIES, damaged, failed};

const APPROVED: &str = AgreementState::APPROVED;
const REVOKED: &str = AgreementState::REVOKED;

/// Outcome of an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// The approval was written.
    Written,
    /// Another approval or a revocation was written since the item was read. This approval counts
    /// as the earlier one, which the other has replaced; nothing was written.
    Overtaken,
    /// The idempotency key was answered before, and nothing was written. A late repeat must not
    /// restore an agreement that was revoked since.
    Answered,
    /// The idempotency key was used with another body.
    KeyReused,
}

/// Outcome of a revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The agreement is revoked, by this or an earlier request.
    Revoked(AgreementRecord),
    /// The customer never had an agreement with this partner.
    NeverApproved,
}

impl Store {
    /// Stores a customer's approval in place of any earlier one with the same partner. Costs a read
    /// and one write, or one transaction if there is a key.
    pub async fn approve_agreement(
        &self,
        customer: &CustomerId,
        agreement: &Agreement,
        name: Option<&Text>,
        key: Option<KeyRecord<'_>>,
        now: Timestamp,
    ) -> Result<Approval, StoreError> {
        let standing = self.agreement_item(customer, agreement.partner).await?;
        let basis = Basis::from_item(standing.as_ref())?;
        let put = Put::builder()
            .table_name(self.customers_table()?)
            .set_item(Some(item(customer, agreement, name, now)))
            .item("version", n(basis.next()))
            .condition_expression(basis.condition())
            .set_expression_attribute_values(basis.values());
        let put = complete(put.build());
        let Some(key) = key else {
            return self.put_agreement(put).await;
        };
        let answer = self.key_answer(&key, now)?;
        let written = vec![
            TransactWriteItem::builder().put(put).build(),
            answer.clone(),
        ];
        match self.keyed(written, 1, &key).await? {
            Keyed::Written => Ok(Approval::Written),
            Keyed::Refused(approval) => Ok(approval),
            // Record the answer, so that a later repeat does not write the approval.
            Keyed::Overtaken => match self.keyed(vec![answer], 0, &key).await? {
                Keyed::Refused(approval) => Ok(approval),
                Keyed::Written | Keyed::Overtaken => Ok(Approval::Overtaken),
            },
        }
    }

    async fn put_agreement(&self, put: Put) -> Result<Approval, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_values(put.expression_attribute_values);
        Ok(match unless_refused(put.send().await)? {
            Ok(_) => Approval::Written,
            Err(_standing) => Approval::Overtaken,
        })
    }

    /// Executes a transaction whose item at index `row` is the row of `key`.
    async fn keyed(
        &self,
        items: Vec<TransactWriteItem>,
        row: usize,
        key: &KeyRecord<'_>,
    ) -> Result<Keyed, StoreError> {
        for attempt in 1..=TRIES {
            let Err(refusals) = self.transact(items.clone()).await? else {
                return Ok(Keyed::Written);
            };
            if let Some(row) = refusals.get(row) {
                match key_use(row, key.body)? {
                    KeyUse::Answered(_) => return Ok(Keyed::Refused(Approval::Answered)),
                    KeyUse::OtherBody => return Ok(Keyed::Refused(Approval::KeyReused)),
                    KeyUse::Fits => {}
                }
            }
            if row > 0 && refusals.get(0).is_some() {
                return Ok(Keyed::Overtaken);
            }
            self.back_off(attempt).await;
        }
        Err(StoreError::Conflict)
    }

    /// Revokes a customer's agreement; a read and a write. If it was revoked before, the time of
    /// the first revocation stays. An approval that is written in between is revoked too, so that
    /// an agreement answered as revoked is revoked.
    pub async fn revoke_agreement(
        &self,
        customer: &CustomerId,
        partner: PartnerName,
        now: Timestamp,
    ) -> Result<Revocation, StoreError> {
        let mut standing = self.agreement_item(customer, partner).await?;
        for _ in 1..=TRIES {
            let Some(item) = &standing else {
                return Ok(Revocation::NeverApproved);
            };
            let record = read(item)?;
            if matches!(record.state, AgreementState::Revoked { .. }) {
                return Ok(Revocation::Revoked(record));
            }
            let basis = Basis::from_item(Some(item))?;
            let revoked = Write::<AgreementItem>::new(key(customer, partner))
                .when_is("state", s(APPROVED))
                .when(basis.condition())
                .set("state", s(REVOKED))
                .set("revokedAt", n(now.millis()))
                .set("version", n(basis.next()))
                .remove(["partnerCustomerId", "paymentMethodId", "name"]);
            let values = basis.values().into_iter().flatten();
            let revoked = values.fold(revoked, |write, (name, value)| write.value(&name, value));
            standing = match self.update(revoked).await? {
                Ok(item) => Some(item),
                Err(standing) => standing,
            };
        }
        match &standing {
            Some(item) if read(item)?.state.as_str() == REVOKED => {
                Ok(Revocation::Revoked(read(item)?))
            }
            _ => Err(StoreError::Conflict),
        }
    }

    async fn agreement_item(
        &self,
        customer: &CustomerId,
        partner: PartnerName,
    ) -> Result<Option<Item>, StoreError> {
        let table = self.customers_table()?;
        self.item(table, key(customer, partner)).await
    }

    /// All agreement records of a customer, by partner; one consistent query.
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

    /// The customer's agreement with that partner, if it is in force. One consistent read, so that
    /// a revocation that was answered is seen.
    pub async fn approved_agreement(
        &self,
        customer: &CustomerId,
        partner: PartnerName,
    ) -> Result<Option<Agreement>, StoreError> {
        let item = self.agreement_item(customer, partner).await?;
        let record = item.as_ref().map(read).transpose()?;
        Ok(record.and_then(|record| match record.state {
            AgreementState::Approved(agreement) => Some(agreement),
            AgreementState::Revoked { .. } => None,
        }))
    }
}

/// The target type of an update of an agreement.
#[derive(Debug)]
enum AgreementItem {}

impl Target for AgreementItem {
    fn table(store: &Store) -> Result<&str, StoreError> {
        store.customers_table()
    }
}

fn key(customer: &CustomerId, partner: PartnerName) -> [(&'static str, AttributeValue); 2] {
    let (customer, partner) = (s(customer.as_str()), s(partner.as_str()));
    [("customerId", customer), ("partner", partner)]
}

/// Outcome of a transaction that includes a key's row.
enum Keyed {
    Written,
    /// The condition on the key's row failed.
    Refused(Approval),
    /// The agreement has changed since it was read.
    Overtaken,
}

/// The state of the item, as read, that a write is based on. Items are never deleted, and their
/// versions only grow.
enum Basis {
    Absent,
    /// Written by a version of the service that stored no versions.
    Unversioned,
    Version(u64),
}

impl Basis {
    fn from_item(item: Option<&Item>) -> Result<Self, StoreError> {
        let Some(item) = item else {
            return Ok(Self::Absent);
        };
        let version = Reader(item)
            .number("version")
            .map_err(damaged("Customers"))?;
        Ok(version.map_or(Self::Unversioned, Self::Version))
    }

    fn condition(&self) -> &'static str {
        match self {
            Self::Absent => "attribute_not_exists(customerId)",
            Self::Unversioned => "attribute_exists(customerId) AND attribute_not_exists(version)",
            Self::Version(_) => "version = :read",
        }
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        match self {
            Self::Absent | Self::Unversioned => None,
            Self::Version(version) => Some(HashMap::from([(":read".to_owned(), n(*version))])),
        }
    }

    fn next(&self) -> u64 {
        match self {
            Self::Absent | Self::Unversioned => 1,
            Self::Version(version) => version + 1,
        }
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
            name: reader.parsed("name", |text| Text::from_stored(text).ok())?,
            state,
        })
    };
    record().map_err(damaged("Customers"))
}
