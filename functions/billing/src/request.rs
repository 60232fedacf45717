//! The request of an invoice.

use domain::{
    Amounts, Contact, Currency, CustomerId, Line, Money, Order, OrderId, OrderLines, Unit,
};
use serde_json::Value;
use service::error::{Difference, Error};
use service::http::{
    EmailField, Named, Report, as_currency, as_id, as_money, as_own_id, read_contact, read_items,
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
            let contact = read_contact(&fields, EmailField::Optional);
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
    /// IDs are not compared, nor is the order of the lines: the invoice takes its lines from the
    /// order, never from the request.
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
        for (index, stored, sent) in unequal_lines(&order.lines, &self.lines) {
            let quantity = |line: &Line| line.quantity.get().to_string();
            let price = |line: &Line| line.price.to_text();
            compare(
                format!("/items/{index}/quantity"),
                quantity(stored),
                quantity(sent),
            );
            compare(format!("/items/{index}/price"), price(stored), price(sent));
        }
        differences
    }
}

/// The lines that remain after each sent line is matched with a stored one of its quantity and
/// price. Returns the index of each remaining sent line and a stored one to compare it with: the
/// one at the same index if that remains.
fn unequal_lines<'a>(stored: &'a [Line], sent: &'a [Line]) -> Vec<(usize, &'a Line, &'a Line)> {
    let is_same =
        |one: &Line, other: &Line| (one.quantity, one.price) == (other.quantity, other.price);
    let mut stored: Vec<Option<&Line>> = stored.iter().map(Some).collect();
    let mut left = Vec::new();
    for (index, sent) in sent.iter().enumerate() {
        let equal = stored
            .iter_mut()
            .find(|line| line.is_some_and(|line| is_same(line, sent)));
        match equal {
            Some(line) => *line = None,
            None => left.push((index, sent)),
        }
    }
    let (mut pairs, mut others) = (Vec::new(), Vec::new());
    for (index, sent) in left {
        match stored.get_mut(index).and_then(Option::take) {
            Some(line) => pairs.push((index, line, sent)),
            None => others.push((index, sent)),
        }
    }
    let unpaired = stored.into_iter().flatten().zip(others);
    pairs.extend(unpaired.map(|(line, (index, sent))| (index, line, sent)));
    pairs.sort_by_key(|(index, ..)| *index);
    pairs
}

/// The currency, customer, and order, read without validating the rest of the body.
pub(crate) fn order_named_by(body: &Value) -> Option<(Currency, CustomerId, OrderId)> {
    let text = |name| body.get(name)?.as_str();
    let currency = text("currency")?.parse().ok()?;
    let customer = CustomerId::parse(text("customerId")?).ok()?;
    Some((currency, customer, OrderId::parse(text("orderId")?).ok()?))
}
