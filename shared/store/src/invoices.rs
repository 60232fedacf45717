//! Invoices: the immutable document, written in one transaction with the order's transition.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use domain::{Contact, DueStep, EventRecord, EventType, Order, Status, Timestamp};

use super::attributes::{
    contact_value, event_value, lines_value, money, n, new_payment_value, record_value, s,
};
use super::orders::DUE_AFTER;
use super::{Store, StoreError, failed, is_condition_refused};

/// What became of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceIssue {
    /// Invoice and order were written.
    Issued,
    /// The order has changed since it was read; nothing was written.
    Raced,
}

impl Store {
    /// Issues the invoice of a pending order as it was read; one transaction.
    ///
    /// `#status = :pending AND version = :old` is `Command::IssueInvoice`'s row of the state table:
    /// lines and amounts of the invoice are those of the very version that it closes.
    /// `currency = :currency` is what those amounts are in.
    pub async fn issue_invoice(
        &self,
        order: &Order,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<InvoiceIssue, StoreError> {
        let transaction = self
            .client
            .transact_write_items()
            .transact_items(
                TransactWriteItem::builder()
                    .update(self.invoice_order(order, contact, now)?)
                    .build(),
            )
            .transact_items(
                TransactWriteItem::builder()
                    .put(self.invoice_document(order, contact, now)?)
                    .build(),
            );
        let Err(error) = transaction.send().await else {
            return Ok(InvoiceIssue::Issued);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled))
                if is_condition_refused(canceled) =>
            {
                Ok(InvoiceIssue::Raced)
            }
            _ => Err(failed("TransactWriteItems", &error)),
        }
    }

    fn invoice_order(
        &self,
        order: &Order,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<Update, StoreError> {
        let version = order.version + 1;
        Update::builder()
            .table_name(self.orders_table()?)
            .key("orderId", s(order.id.to_string()))
            .condition_expression("#status = :pending AND version = :old AND currency = :currency")
            .update_expression(
                "SET #status = :invoiced, version = :version, contact = :contact, \
                 payment = :payment, #event = :event, events.#kind = :record, \
                 dueStep = :step, dueAt = :due, dueTries = :zero",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#event", "event")
            .expression_attribute_names("#kind", EventType::InvoiceCreated.as_str())
            .expression_attribute_values(":pending", s(Status::Pending.as_str()))
            .expression_attribute_values(":invoiced", s(Status::Invoiced.as_str()))
            .expression_attribute_values(":old", n(order.version))
            .expression_attribute_values(":version", n(version))
            .expression_attribute_values(":currency", s(order.currency.code()))
            .expression_attribute_values(":contact", contact_value(contact))
            .expression_attribute_values(":payment", new_payment_value())
            .expression_attribute_values(
                ":event",
                event_value(&order.event_id(version), EventType::InvoiceCreated),
            )
            .expression_attribute_values(":record", record_value(&EventRecord { version, at: now }))
            .expression_attribute_values(":step", s(DueStep::Payment.partition_of(&order.id)))
            .expression_attribute_values(":due", n(now.plus(DUE_AFTER).millis()))
            .expression_attribute_values(":zero", n(0))
            .build()
            .map_err(|_| StoreError::NotConfigured("Orders"))
    }

    fn invoice_document(
        &self,
        order: &Order,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(self.invoices_table()?)
            .item("invoiceId", s(order.id.invoice().to_string()))
            .item("orderId", s(order.id.to_string()))
            .item("customerId", s(order.customer.as_str()))
            .item("currency", s(order.currency.code()))
            .item("lines", lines_value(&order.lines))
            .item("subTotal", money(order.amounts.sub_total))
            .item("tax", money(order.amounts.tax))
            .item("total", money(order.amounts.total))
            .item("contact", contact_value(contact))
            .item("issuedAt", n(now.millis()))
            .condition_expression("attribute_not_exists(invoiceId)")
            .build()
            .map_err(|_| StoreError::NotConfigured("Invoices"))
    }
}
