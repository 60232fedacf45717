//! The request of an invoice.

use domain::{Amounts, Contact, Currency, CustomerId, Money, Order, OrderId, OrderLines, Unit};
use serde_json::Value;
use service::error::{Difference, Error};
use service::http::{
    Named, Report, as_currency, as_id, as_money, as_own_id, read_contact, read_items,
};

/// `{customerId, orderId, tax, subTotalAmount, totalAmount, currency, items, name, phone,
/// shipping_address, email?}`
pub(crate) struct InvoiceRequest {
    pub(crate) customer: CustomerId,
    pub(crate) order: Named<OrderId>,
    currency: Currency,
    amounts: Amounts,
    lines: OrderLines,
    pub(crate) contact: Contact,
}

impl InvoiceRequest {
    pub(crate) fn read(body: &Value, unit: Unit) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let amount = |name| fields.required(name, as_money(unit, Money::MAX_AMOUNT));
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let order = fields.required("orderId", as_own_id(OrderId::parse));
            let tax = amount("tax");
            let sub_total = amount("subTotalAmount");
            let total = amount("totalAmount");
            let named = fields.required("currency", as_currency(unit.currency()));
            let lines = read_items(&fields, unit);
            let contact = read_contact(&fields, false);
            fields.close();
            Some(Self {
                customer: customer?,
                order: order?,
                currency: named?,
                amounts: Amounts {
                    sub_total: sub_total?,
                    tax: tax?,
                    total: total?,
                },
                lines: lines?,
                contact: contact?,
            })
        });
        report.finish(request)
    }

    /// Lists the currency and each amount, quantity, and price that differ from the order. Product
    /// IDs are not compared: the invoice takes its lines from the order, never from the request.
    pub(crate) fn differences(&self, order: &Order) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |pointer: String, expected: String, actual: String| {
            if expected != actual {
                differences.push(Difference {
                    pointer,
                    expected,
                    actual,
                });
            }
        };
        let (expected, actual) = (order.currency.to_string(), self.currency.to_string());
        compare("/currency".to_owned(), expected, actual);
        for (name, expected, actual) in [
            ("/tax", order.amounts.tax, self.amounts.tax),
            (
                "/subTotalAmount",
                order.amounts.sub_total,
                self.amounts.sub_total,
            ),
            ("/totalAmount", order.amounts.total, self.amounts.total),
        ] {
            compare(
                name.to_owned(),
                expected.to_amount_text(),
                actual.to_amount_text(),
            );
        }
        let count = |lines: &OrderLines| format!("{} entries", lines.len());
        compare("/items".to_owned(), count(&order.lines), count(&self.lines));
        for (index, (stored, sent)) in order.lines.iter().zip(self.lines.iter()).enumerate() {
            let number = |line: &domain::Line| line.quantity.get().to_string();
            compare(
                format!("/items/{index}/quantity"),
                number(stored),
                number(sent),
            );
            let prices = (stored.price.to_text(), sent.price.to_text());
            compare(format!("/items/{index}/price"), prices.0, prices.1);
        }
        differences
    }
}

/// The currency, customer, and order, read without validating the rest of the body.
pub(crate) fn order_named_by(body: &Value) -> Option<(Currency, CustomerId, OrderId)> {
    let text = |name| body.get(name)?.as_str();
    let currency = text("currency")?.parse().ok()?;
    let customer = CustomerId::parse(text("customerId")?).ok()?;
    Some((currency, customer, OrderId::parse(text("orderId")?).ok()?))
}
