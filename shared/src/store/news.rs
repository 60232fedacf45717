//! What partners tell of an order after they were asked: disputes and deliveries. Each is a note for
//! people, written beside the state machine: no version is raised and no event is told.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;

use super::attributes::{delivery_value, dispute_value, n, s};
use super::orders::conditional;
use super::{Store, StoreError};
use crate::domain::{Delivery, Dispute, DisputeState, Order, OrderId};

/// What became of a piece of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is on the order now.
    Written,
    /// The order says so already, or says something later.
    Known,
    /// There is no such order, or it does not have this reference.
    Foreign,
}

impl Store {
    /// Notes how the dispute of the charge with this reference stands; one write. A dispute only
    /// moves from open to closed, so the same news late or again changes nothing.
    pub async fn note_dispute(
        &self,
        id: &OrderId,
        reference: &str,
        dispute: Dispute,
    ) -> Result<Noted, StoreError> {
        let mut update = self
            .note(id, reference)?
            .update_expression("SET dispute = :dispute REMOVE #event")
            .expression_attribute_values(":dispute", dispute_value(&dispute));
        update = match dispute.state {
            DisputeState::Open => update.condition_expression(
                "payment.#reference = :reference AND attribute_not_exists(dispute)",
            ),
            DisputeState::Won | DisputeState::Lost => update
                .condition_expression(
                    "payment.#reference = :reference \
                     AND (attribute_not_exists(dispute) OR dispute.#state = :open)",
                )
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":open", s(DisputeState::Open.as_str())),
        };
        noted(update, |order| {
            let payment = order.payment.as_ref();
            payment.and_then(|payment| payment.reference.as_deref()) == Some(reference)
        })
        .await
    }

    /// Notes where the parcel with this reference at that carrier is; one write. By the carrier's clock the latest
    /// news holds, in whatever order they come.
    pub async fn note_delivery(
        &self,
        id: &OrderId,
        carrier: &str,
        reference: &str,
        delivery: Delivery,
    ) -> Result<Noted, StoreError> {
        let update = self
            .note(id, reference)?
            .update_expression("SET delivery = :delivery REMOVE #event")
            .condition_expression(
                "parcel.#reference = :reference AND parcel.#carrier = :carrier \
                 AND (attribute_not_exists(delivery) OR delivery.#at < :at)",
            )
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#carrier", "carrier")
            .expression_attribute_values(":carrier", s(carrier))
            .expression_attribute_values(":delivery", delivery_value(&delivery))
            .expression_attribute_values(":at", n(delivery.at.millis()));
        noted(update, |order| {
            let parcel = order.parcel.as_ref();
            parcel.is_some_and(|parcel| parcel.reference == reference && parcel.carrier == carrier)
        })
        .await
    }

    fn note(&self, id: &OrderId, reference: &str) -> Result<UpdateItemFluentBuilder, StoreError> {
        Ok(self
            .any_update(id)?
            .expression_attribute_names("#reference", "reference")
            .expression_attribute_values(":reference", s(reference)))
    }
}

async fn noted(
    update: UpdateItemFluentBuilder,
    is_ours: impl Fn(&Order) -> bool,
) -> Result<Noted, StoreError> {
    Ok(match conditional(update).await? {
        Ok(_) => Noted::Written,
        Err(Some(order)) if is_ours(&order) => Noted::Known,
        Err(_) => Noted::Foreign,
    })
}
