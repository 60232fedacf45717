//! Invoices: the immutable document, written in one transaction with the order's transition.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use domain::{Command, Contact, Order, Timestamp};

use super::item::{contact_value, lines_value, money, n, new_payment_value, s};
use super::refused::complete;
use super::{Store, StoreError};

/// Outcome of issuing an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvoiceIssue {
    /// Both the invoice and the order were written.
    Issued,
    /// The order has changed since it was read; nothing was written.
    Raced,
}

impl Store {
    /// Issues the invoice of a pending order, as it was read; one transaction.
    ///
    /// The invoice has exactly the lines and amounts of the order's version that it closes, in the
    /// order's currency.
    pub async fn issue_invoice(
        &self,
        order: &Order,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<InvoiceIssue, StoreError> {
        let invoiced = self
            .transition(order, Command::IssueInvoice, now)
            .when_is("currency", s(order.currency.code()))
            .set("contact", contact_value(contact))
            .set("payment", new_payment_value());
        let document = self.invoice_document(order, contact, now)?;
        let items = vec![
            self.transact_item(invoiced)?,
            TransactWriteItem::builder().put(document).build(),
        ];
        Ok(match self.transact(items).await? {
            Ok(()) => InvoiceIssue::Issued,
            Err(_refused) => InvoiceIssue::Raced,
        })
    }

    fn invoice_document(
        &self,
        order: &Order,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<Put, StoreError> {
        let put = Put::builder()
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
            .condition_expression("attribute_not_exists(invoiceId)");
        Ok(complete(put.build()))
    }
}
