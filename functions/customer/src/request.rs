//! The requests about a customer's agreements.

use domain::{Agreement, CustomerId, PartnerName, PartnerToken, Text};
use serde_json::Value;
use service::error::Error;
use service::http::{Call, Invalid, Parameters, Report, as_id, as_text};

/// `{customerId, partner, partnerCustomerId?, paymentMethodId, name?}`
pub(crate) struct ApprovalRequest {
    pub(crate) customer: CustomerId,
    pub(crate) agreement: Agreement,
    pub(crate) name: Option<Text>,
}

impl ApprovalRequest {
    pub(crate) fn read(body: &Value) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let partner = fields.required("partner", as_partner);
            let partner_customer = fields.optional("partnerCustomerId", as_id(PartnerToken::parse));
            let payment_method = fields.required("paymentMethodId", as_id(PartnerToken::parse));
            let name = fields.optional("name", as_text);
            if partner == Some(PartnerName::Stripe) && partner_customer == Some(None) {
                let detail =
                    "is required with stripe: the ID of the customer who owns the payment method";
                report.add(fields.pointer("partnerCustomerId"), detail.to_owned());
            }
            fields.close();
            Some(Self {
                customer: customer?,
                agreement: Agreement {
                    partner: partner?,
                    partner_customer: partner_customer?,
                    payment_method: payment_method?,
                },
                name: name?,
            })
        });
        report.finish(request)
    }
}

fn as_partner(value: &Value) -> Result<PartnerName, Invalid> {
    Ok(PartnerName::with_agreements(
        value.as_str().unwrap_or_default(),
    )?)
}

/// The partner that the query names, or all.
pub(crate) fn partners_to_revoke(call: &Call) -> Result<Vec<PartnerName>, Error> {
    let mut parameters = Parameters::from_call(call, &["partner"]);
    let named = parameters.read("partner", PartnerName::with_agreements);
    parameters.finish()?;
    Ok(match named {
        Some(partner) => vec![partner],
        None => PartnerName::WITH_AGREEMENTS.to_vec(),
    })
}
