//! The request and answer of a payment.

use domain::{Currency, CustomerId, InvoiceId, Money, Order, Text};
use serde::Serialize;
use serde_json::Value;
use service::error::Error;
use service::http::{Invalid, Named, Report, as_id, as_money, as_own_id, as_text_lines};
use store::PaymentTerms;

/// A caller's reason for a refund or a cancellation. It must not be one of this service's own, by
/// which a customer's mail says why the order was cancelled.
pub(crate) fn as_reason(value: &Value) -> Result<Text, Invalid> {
    let reason = as_text_lines(value)?;
    let own = [Order::EXPIRED, Order::REFUNDED, Order::DISPUTED];
    if own.contains(&reason.as_str()) {
        let own = own.join(", ");
        return Err(Invalid(format!(
            "must not be one of the reasons that only the service gives: {own}"
        )));
    }
    Ok(reason)
}

/// `{customerId, invoiceId, totalAmount}`
pub(crate) struct PaymentRequest {
    pub(crate) invoice: Named<InvoiceId>,
    pub(crate) terms: PaymentTerms,
}

impl PaymentRequest {
    pub(crate) fn read(body: &Value, currency: Currency) -> Result<Self, Error> {
        let unit = currency.into();
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let invoice = fields.required("invoiceId", as_own_id(InvoiceId::parse));
            let total = fields.required("totalAmount", as_money(unit, Money::MAX_AMOUNT));
            fields.close();
            Some(Self {
                invoice: invoice?,
                terms: PaymentTerms {
                    customer: customer?,
                    total: total?,
                },
            })
        });
        report.finish(request)
    }
}

/// The customer and the invoice in a payment's body, read without validating the rest.
pub(crate) fn invoice_named_by(body: &Value) -> Option<(CustomerId, InvoiceId)> {
    let text = |name| body.get(name)?.as_str();
    let customer = CustomerId::parse(text("customerId")?).ok()?;
    Some((customer, InvoiceId::parse(text("invoiceId")?).ok()?))
}

/// The body of the contract; card fields that the partner does not give are `null`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaymentBody<'a> {
    transaction_id: u64,
    #[serde(rename = "credit_card")]
    credit_card: CardBody<'a>,
    payment: ReceiptBody<'a>,
}

#[derive(Serialize)]
struct CardBody<'a> {
    first_name: Option<&'a str>,
    last_name: Option<&'a str>,
    first_digits: Option<&'a str>,
    last_digits: Option<&'a str>,
    brand: Option<&'a str>,
    expiry_month: Option<u32>,
    expiry_year: Option<u32>,
    customer_id: Value,
}

#[derive(Serialize)]
struct ReceiptBody<'a> {
    completed_at: String,
    created_at: String,
    currency: &'a str,
    customer_id: Value,
    amount: String,
}

impl<'a> PaymentBody<'a> {
    /// The receipt of a paid order; `None` for any other.
    pub(crate) fn from_order(order: &'a Order) -> Option<Self> {
        let charge = order.payment.as_ref()?.charge.as_ref()?;
        let card = &charge.card;
        Some(Self {
            transaction_id: charge.transaction_id,
            credit_card: CardBody {
                first_name: card.first_name.as_deref(),
                last_name: card.last_name.as_deref(),
                first_digits: card.first_digits.as_deref(),
                last_digits: card.last_digits.as_deref(),
                brand: card.brand.as_deref(),
                expiry_month: card.expiry_month,
                expiry_year: card.expiry_year,
                customer_id: order.customer.to_json(),
            },
            payment: ReceiptBody {
                completed_at: charge.completed_at.to_string(),
                created_at: charge.created_at.to_string(),
                currency: order.currency.code(),
                customer_id: order.customer.to_json(),
                amount: order.amounts.total.to_amount_text(),
            },
        })
    }
}
