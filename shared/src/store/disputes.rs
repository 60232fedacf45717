//! Disputes: a flag on the order, written once open and once closed.

use super::attributes::{dispute_value, s};
use super::orders::conditional;
use super::{Store, StoreError};
use crate::domain::{Dispute, DisputeState, OrderId};

impl Store {
    /// Flags the charge that has this reference as disputed; one write. A dispute only moves from
    /// open to closed, so the same news late or again changes nothing. Nothing else of the order
    /// changes, and no event is told.
    pub async fn flag_dispute(
        &self,
        id: &OrderId,
        reference: &str,
        dispute: Dispute,
    ) -> Result<(), StoreError> {
        let mut update = self
            .client
            .update_item()
            .table_name(self.orders_table()?)
            .key("orderId", s(id.to_string()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
            .expression_attribute_names("#event", "event")
            .expression_attribute_names("#reference", "reference")
            .update_expression("SET dispute = :dispute REMOVE #event")
            .expression_attribute_values(":dispute", dispute_value(&dispute))
            .expression_attribute_values(":reference", s(reference));
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
        // Refused: it is there already, or the order is none of this charge's.
        conditional(update).await.map(|_| ())
    }
}
