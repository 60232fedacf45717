//! `items`, shared by the requests and answers of cart and invoice.

use domain::{
    ExactNumber, Line, Money, OrderLines, ProductId, Quantity, QuantityError, RefundedItem, Unit,
};
use serde::Serialize;
use serde_json::{Number, Value};

use super::{Fields, Invalid, as_id, as_money};

/// Reads `items`: 1 to 100 objects with `productId`, `quantity`, and `price` in
/// `unit`.
pub fn read_items(fields: &Fields<'_>, unit: Unit) -> Option<OrderLines> {
    let lines = fields.objects("items", (1, OrderLines::MAX), |item| {
        let product_id = item.required("productId", as_id(ProductId::parse));
        let quantity = item.required("quantity", as_quantity);
        let price = item.required("price", as_money(unit, Money::MAX_PRICE));
        item.close();
        Some(Line {
            product_id: product_id?,
            quantity: quantity?,
            price: price?,
        })
    })?;
    OrderLines::new(lines)
}

/// A JSON number whose value is a quantity, in any notation: `2`, `2.0`, `20e-1`.
pub fn as_quantity(value: &Value) -> Result<Quantity, Invalid> {
    let number = value.as_number().map(Number::as_str);
    let whole = number
        .and_then(ExactNumber::parse)
        .and_then(|number| number.to_whole());
    let quantity = whole.and_then(|whole| u32::try_from(whole).ok());
    Ok(Quantity::new(quantity.ok_or(QuantityError)?)?)
}

/// One entry of `items` in an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemBody<'a> {
    product_id: &'a str,
    quantity: u32,
    price: Number,
}

impl<'a> ItemBody<'a> {
    /// A part of a line, with this quantity.
    #[must_use]
    pub fn of(line: &'a Line, quantity: Quantity) -> Self {
        Self {
            product_id: line.product_id.as_str(),
            quantity: quantity.get(),
            price: line.price.to_json(),
        }
    }
}

/// Reads `items` of a refund: 1 to 100 objects with `productId` and `quantity`.
pub fn read_refunded_items(fields: &Fields<'_>) -> Option<Vec<RefundedItem>> {
    fields.objects("items", (1, OrderLines::MAX), |item| {
        let product_id = item.required("productId", as_id(ProductId::parse));
        let quantity = item.required("quantity", as_quantity);
        item.close();
        Some(RefundedItem {
            product_id: product_id?,
            quantity: quantity?,
        })
    })
}

/// The `items` of an answer.
#[must_use]
pub fn item_bodies(lines: &OrderLines) -> Vec<ItemBody<'_>> {
    lines
        .iter()
        .map(|line| ItemBody::of(line, line.quantity))
        .collect()
}
