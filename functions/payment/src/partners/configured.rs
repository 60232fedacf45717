//! The billing partners of one deployment. New charges open at the current partner; every other
//! call goes to the partner that opened the charge.

use std::iter;

use domain::{NextAction, PartnerAccount, PartnerName, RedirectUrl};
use messages::PartnerReference;
use platform::aws::Aws;
use platform::config::{ConfigError, Environment};
use platform::runtime::Runtime;
use platform::secret::{self, BillingPartners, SecretVariables};

use super::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, Ledger, OpenCharge, PartAnswer,
    PartRefund, PartnerError, PayPal, RefundStatus, Sandbox, ShownRefund, Stripe,
};

/// The billing partners that the deployment has keys for.
#[derive(Clone, Debug)]
pub struct Partners<P> {
    current: P,
    former: Option<P>,
}

impl Partners<PartnerClient> {
    /// The clients that `BILLING_PARTNER` and `FORMER_BILLING_PARTNER` name.
    pub async fn from_environment(
        environment: Environment<'_>,
        aws: &Aws,
        runtime: &Runtime,
    ) -> Result<Self, ConfigError> {
        let named = BillingPartners::from_environment(environment, secret::PARTNER)?;
        let client = |(name, secret)| PartnerClient::of(name, environment, aws, secret, runtime);
        Ok(Self {
            current: client(named.current).await?,
            former: match named.former {
                Some(named) => Some(client(named).await?),
                None => None,
            },
        })
    }
}

impl<P: BillingPartner> From<P> for Partners<P> {
    fn from(current: P) -> Self {
        Self {
            current,
            former: None,
        }
    }
}

impl<P: BillingPartner> Partners<P> {
    /// Also serves the charges that were opened at `former`.
    #[must_use]
    pub fn and_former(self, former: P) -> Self {
        Self {
            former: Some(former),
            ..self
        }
    }

    /// The partner for new charges.
    pub(crate) fn current(&self) -> &P {
        &self.current
    }

    /// The partner that opened the charge.
    pub(crate) fn of(&self, charge: &OpenCharge) -> Result<&P, PartnerError> {
        let partner = charge.partner.and_then(|name| self.named(name));
        partner.ok_or_else(|| {
            tracing::error!(
                order_id = %charge.request.invoice.order(),
                partner = charge.partner.as_ref().map(PartnerName::as_str),
                code = "charge_at_other_partner",
                "the charge was opened at a billing partner that is not configured"
            );
            not_configured()
        })
    }

    fn named(&self, name: PartnerName) -> Option<&P> {
        let mut all = iter::once(&self.current).chain(&self.former);
        all.find(|partner| partner.name() == name)
    }

    /// Whether a charge that replaces it would be opened at another partner.
    pub(crate) fn is_former(&self, charge: &OpenCharge) -> bool {
        charge.partner != Some(self.current.name())
    }

    pub(crate) async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.of(charge)?.confirm(charge).await
    }

    pub(crate) async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.of(charge)?.look_up(charge).await
    }

    pub(crate) async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        self.of(charge)?.ask_customer(charge).await
    }

    pub(crate) async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        self.of(charge)?.refund(charge).await
    }

    pub(crate) async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        self.of(charge)?.refund_part(charge, part).await
    }

    pub(crate) async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        self.of(charge)?.shown_refunds(charge).await
    }

    pub(crate) async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        self.of(charge)?.refund_status(charge).await
    }

    pub(crate) async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.of(charge)?.cancel(charge).await
    }

    pub(crate) async fn dispute(
        &self,
        at: PartnerName,
        id: &PartnerReference,
    ) -> Result<Option<Disputed>, PartnerError> {
        let partner = self.named(at).ok_or_else(not_configured)?;
        partner.dispute(id).await
    }
}

/// The operator must keep the partner configured as long as it has open charges.
fn not_configured() -> PartnerError {
    PartnerError::NotConfigured("the charge's billing partner is not configured".into())
}

/// A client of any of the partners.
#[derive(Clone, Debug)]
pub enum PartnerClient {
    /// The sandbox.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
    /// PayPal.
    PayPal(PayPal),
}

/// Calls the client, whichever partner it is for.
macro_rules! delegate {
    ($client:expr, $each:ident => $call:expr) => {
        match $client {
            PartnerClient::Sandbox($each) => $call,
            PartnerClient::Stripe($each) => $call,
            PartnerClient::PayPal($each) => $call,
        }
    };
}

impl PartnerClient {
    async fn of(
        name: PartnerName,
        environment: Environment<'_>,
        aws: &Aws,
        secret: SecretVariables,
        runtime: &Runtime,
    ) -> Result<Self, ConfigError> {
        let runtime = runtime.clone();
        let return_url = return_url(environment)?;
        Ok(match name {
            PartnerName::Sandbox => {
                let sandbox = Sandbox::new(runtime);
                Self::Sandbox(match environment.optional("SANDBOX_LEDGER") {
                    Some(directory) => sandbox.with_ledger(Ledger::new(directory)?),
                    None => sandbox,
                })
            }
            PartnerName::Stripe => {
                let stripe = Stripe::from_environment(environment, aws, secret, runtime).await?;
                Self::Stripe(stripe.returning_to(return_url))
            }
            PartnerName::PayPal => {
                let paypal = PayPal::from_environment(environment, aws, secret, runtime).await?;
                Self::PayPal(paypal.returning_to(return_url))
            }
        })
    }
}

/// The URL that partners send a customer to after a confirmation: `PAYMENT_RETURN_URL`.
fn return_url(environment: Environment<'_>) -> Result<Option<RedirectUrl>, ConfigError> {
    const NAME: &str = "PAYMENT_RETURN_URL";
    match environment.optional(NAME) {
        None => Ok(None),
        Some(_) => environment.parsed(NAME).map(Some),
    }
}

impl BillingPartner for PartnerClient {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        delegate!(self, client => client.open(request).await)
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        delegate!(self, client => client.confirm(charge).await)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        delegate!(self, client => client.look_up(charge).await)
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        delegate!(self, client => client.ask_customer(charge).await)
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        delegate!(self, client => client.refund(charge).await)
    }

    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        delegate!(self, client => client.refund_part(charge, part).await)
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        delegate!(self, client => client.shown_refunds(charge).await)
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        delegate!(self, client => client.refund_status(charge).await)
    }

    fn name(&self) -> PartnerName {
        delegate!(self, client => client.name())
    }

    fn account(&self) -> PartnerAccount {
        delegate!(self, client => client.account())
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        delegate!(self, client => client.agreement_with())
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        delegate!(self, client => client.cancel(charge).await)
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        delegate!(self, client => client.dispute(id).await)
    }
}
