//! Connections to partners: a connection that was left open is dead when the function is thawed, in
//! each possible way.

use std::sync::Arc;

use domain::{Agreement, CustomerId, Money, PartnerName};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, OpenCharge, PayPal, RefundStatus, Stripe,
};
use platform::outbound::{Https, Secret};
use platform::runtime::Runtime;
use shipment::carriers::{Carrier, EasyPost, Opened};
use tests::partners::{EasyPostDouble, Front, Idle, PartnerDouble, PayPalDouble, StripeDouble};

use crate::easypost::{ADDRESS, KEY, parcel, settings};
use crate::paypal::paypal;
use crate::stripe::{clock, token};

/// Opens, confirms, looks up, and refunds a charge. Each call follows another one whose connection
/// no longer answers.
async fn charge_and_refund<P: BillingPartner>(
    partner: P,
    runtime: &Runtime,
    agreement: Agreement,
    idle: Idle,
) {
    let request = ChargeRequest {
        invoice: runtime.order_id().invoice(),
        attempt: 1,
        customer: CustomerId::parse("8080").unwrap(),
        amount: Money::from_stored("200").unwrap(),
        currency: "USD".parse().unwrap(),
        agreement: Some(agreement),
        replaces: None,
    };
    let reference = partner.open(&request).await.expect("it is opened");
    let charge = OpenCharge::new(request, reference, &partner, runtime.now());
    let confirmed = partner.confirm(&charge).await;
    assert!(
        matches!(confirmed, Ok(ChargeStatus::Captured(_))),
        "{idle:?}: {confirmed:?}"
    );
    let found = partner.look_up(&charge).await;
    assert!(
        matches!(found, Ok(ChargeStatus::Captured(_))),
        "{idle:?}: {found:?}"
    );
    let refunded = partner.refund(&charge).await;
    assert!(
        matches!(refunded, Ok(RefundStatus::Refunded)),
        "{idle:?}: {refunded:?}"
    );
    let status = partner.refund_status(&charge).await;
    assert!(
        matches!(status, Ok(Some(RefundStatus::Refunded))),
        "{idle:?}: {status:?}"
    );
}

#[tokio::test]
async fn no_charge_or_refund_at_stripe_is_unknown_for_a_connection_that_died_while_idle() {
    for idle in Idle::ALL {
        let (runtime, _) = clock();
        let played = StripeDouble::new(runtime.clone());
        played.attach("cus_played", "pm_card_visa");
        let https = Https::new(played.front().serve_and_leave(idle));
        let key = Secret::new(StripeDouble::api_key());
        let agreement = Agreement {
            partner: PartnerName::Stripe,
            partner_customer: Some(token("cus_played")),
            payment_method: token("pm_card_visa"),
        };
        let stripe: Stripe = Stripe::new(https, key, runtime.clone());
        charge_and_refund(stripe, &runtime, agreement, idle).await;
        assert_eq!((played.charges().len(), played.refunds()), (1, 1));
    }
}

#[tokio::test]
async fn no_charge_or_refund_at_paypal_is_unknown_for_a_connection_that_died_while_idle() {
    for idle in Idle::ALL {
        let (runtime, _) = clock();
        let double = Arc::new(PayPalDouble::new(runtime.clone()));
        double.vault_card("8kk8451t", []);
        let front = Front::new(double.clone());
        let agreement = Agreement {
            partner: PartnerName::PayPal,
            partner_customer: None,
            payment_method: token("8kk8451t"),
        };
        let paypal: PayPal = paypal(Https::new(front.serve_and_leave(idle)), runtime.clone());
        charge_and_refund(paypal, &runtime, agreement, idle).await;
        assert_eq!(double.taken(), ["200.00 USD"]);
        assert_eq!(double.given_back(), ["200.00 COMPLETED"]);
    }
}

#[tokio::test]
async fn no_label_is_unknown_for_a_connection_that_died_while_idle() {
    for idle in Idle::ALL {
        let double = EasyPostDouble::new(KEY);
        let front = Front::new(Arc::new(double.clone()) as Arc<dyn PartnerDouble>);
        let https = Https::new(front.serve_and_leave(idle));
        let carrier = EasyPost::new(https, &Secret::new(KEY), settings(None));
        let opened = carrier.open(&parcel(ADDRESS)).await;
        let Ok(Opened::Registered(reference)) = opened else {
            panic!("{idle:?}: {opened:?}")
        };
        let bought = carrier.buy(&reference).await;
        let found = carrier.look_up(&reference).await;
        assert_eq!(
            found.unwrap().as_ref(),
            bought.as_ref().ok(),
            "{idle:?}: {bought:?}"
        );
        assert!(bought.is_ok());
        assert_eq!(double.bought().len(), 1);
    }
}
