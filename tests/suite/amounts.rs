//! Amounts that can be charged: units, minima and maxima of the billing partners.

use std::sync::Arc;

use domain::{ChargeLimits, Currency, PartnerName, TaxMode};
use payment::partners::{BillingPartner, PayPal, Sandbox, Stripe};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shipment::carriers::Own;
use tests::partners::{Front, PayPalDouble, StripeDouble};
use tests::{Cloud, Options, Reply};

use crate::contract::{bills, pays, text, with_checkout};
use crate::errors::assert_problem;
use crate::sequences::{
    FIRST, VISA, paypal_client, paypal_with, stripe_client, with_paypal, with_stripe,
};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn options(partner: Option<PartnerName>, currency: &'static str) -> Options {
    Options {
        partner,
        currency,
        ..Options::default()
    }
}

fn costs(price: &str) -> Value {
    json!({
        "customerId": "8080",
        "items": [{"productId": "1", "quantity": 1, "price": number(price)}]
    })
}

/// The details of all reported fields.
fn details(reply: &Reply) -> String {
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    let details = errors.iter().map(|error| text(&error["detail"]).to_owned());
    details.collect::<Vec<_>>().join("\n")
}

async fn at_stripe(options: Options) -> (Cloud<Stripe>, StripeDouble) {
    let mut made = None;
    let cloud = Cloud::with_partner(options, |runtime| {
        let played = StripeDouble::new(runtime.clone());
        played.attach("cus_played", VISA);
        let client = stripe_client(&played.front(), runtime);
        made = Some(played);
        client
    });
    let cloud = cloud.await;
    let agreed = cloud.post(AGREEMENT, &with_stripe(VISA)).await;
    assert_eq!(agreed.status, 201, "{}", agreed.text);
    (cloud, made.unwrap())
}

async fn at_paypal(options: Options) -> (Cloud<PayPal>, Arc<PayPalDouble>) {
    let mut made: Option<(Arc<PayPalDouble>, Front)> = None;
    let cloud = Cloud::with_partner(options, |runtime| {
        let (double, front) = paypal_with(runtime.clone(), [], []);
        let client = paypal_client(&front, PayPalDouble::CLIENT, runtime);
        made = Some((double, front));
        client
    });
    let cloud = cloud.await;
    let agreed = cloud.post(AGREEMENT, &with_paypal(FIRST)).await;
    assert_eq!(agreed.status, 201, "{}", agreed.text);
    (cloud, made.unwrap().0)
}

/// Places the cart and delivers everything; returns the order as shown then.
async fn order_of<P: BillingPartner>(cloud: &Cloud<P>, cart: &Value) -> Value {
    let reply = cloud.post(CART, cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    cloud.settle().await;
    cloud.get(text(&reply.body["orderId"])).await.body
}

const STRIPE: Option<PartnerName> = Some(PartnerName::Stripe);
const PAYPAL: Option<PartnerName> = Some(PartnerName::PayPal);

#[tokio::test]
async fn a_price_finer_than_the_unit_is_refused_with_the_unit() {
    for (partner, currency, finer, unit, fits) in [
        (None, "USD", "1.005", "0.01 USD", "1.05"),
        (None, "JPY", "100.5", "1 JPY", "100"),
        (None, "KWD", "1.0005", "0.001 KWD", "1.005"),
        (STRIPE, "KWD", "1.005", "0.01 KWD", "1.05"),
        (STRIPE, "TND", "10.001", "0.01 TND", "10.01"),
        (STRIPE, "MGA", "1000.5", "1 MGA", "1000"),
        (STRIPE, "HUF", "175.005", "0.01 HUF", "175.05"),
        (STRIPE, "TWD", "100.005", "0.01 TWD", "100.05"),
        (STRIPE, "UGX", "5000.5", "1 UGX", "5000"),
        (PAYPAL, "HUF", "175.5", "1 HUF", "175"),
        (PAYPAL, "TWD", "100.5", "1 TWD", "100"),
        (PAYPAL, "JPY", "100.5", "1 JPY", "100"),
        (PAYPAL, "USD", "1.005", "0.01 USD", "1.05"),
    ] {
        let cloud = Cloud::with(options(partner, currency)).await;
        for cart in [costs(finer), with_checkout(costs(finer), currency)] {
            let reply = cloud.post(CART, &cart).await;
            assert_problem(&reply, 422, "invalid_fields");
            assert_eq!(reply.pointers(), ["/items/0/price"], "{}", reply.text);
            assert!(details(&reply).contains(unit), "{}", reply.text);
        }
        let placed = cloud.post(CART, &costs(fits)).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        let mut bill = bills(&placed.body, currency);
        bill["totalAmount"] = number(finer);
        bill["items"][0]["price"] = number(finer);
        let reply = cloud.post(INVOICE, &bill).await;
        assert_problem(&reply, 422, "invalid_fields");
        assert_eq!(
            reply.pointers(),
            ["/totalAmount", "/items/0/price"],
            "{}",
            reply.text
        );
        assert!(details(&reply).contains(unit), "{}", reply.text);
    }
}

#[tokio::test]
async fn computed_amounts_are_rounded_to_what_the_partner_charges() {
    for (currency, rate, price, total, sent) in [
        ("JOD", "0.16", "1.13", "1.31", 1_310),
        ("KWD", "0.05", "2.5", "2.63", 2_630),
        ("BHD", "0.10", "1.25", "1.38", 1_380),
        ("OMR", "0.05", "0.5", "0.53", 530),
        ("MGA", "0.20", "1234", "1481.0", 1_481),
        ("ISK", "0.24", "999", "1239.0", 123_900),
        ("UGX", "0.18", "1025", "1210.0", 121_000),
        ("HUF", "0.27", "999", "1268.73", 126_873),
    ] {
        let options = Options {
            tax_mode: TaxMode::Added,
            tax_rate: rate,
            ..options(STRIPE, currency)
        };
        let (cloud, played) = at_stripe(options).await;
        let shown = order_of(&cloud, &with_checkout(costs(price), currency)).await;
        assert_eq!(shown["totalAmount"].to_string(), total, "{currency}");
        assert_eq!(shown["status"], "shipped", "{shown}");
        assert_eq!(played.captured(), [sent], "{currency}");
    }
    for (currency, rate, price, total, sent) in [
        ("HUF", "0.27", "999", "1269.0", "1269 HUF"),
        ("TWD", "0.05", "333", "350.0", "350 TWD"),
        ("JPY", "0.10", "105", "116.0", "116 JPY"),
        ("USD", "0.10", "1.05", "1.16", "1.16 USD"),
    ] {
        let options = Options {
            tax_mode: TaxMode::Added,
            tax_rate: rate,
            ..options(PAYPAL, currency)
        };
        let (cloud, played) = at_paypal(options).await;
        let shown = order_of(&cloud, &with_checkout(costs(price), currency)).await;
        assert_eq!(shown["totalAmount"].to_string(), total, "{currency}");
        assert_eq!(shown["status"], "shipped", "{shown}");
        assert_eq!(played.taken(), [sent]);
    }
}

#[tokio::test]
async fn a_total_out_of_the_partners_limits_is_refused_at_the_cart_and_at_the_invoice() {
    for (partner, currency, below, least, limit) in [
        (STRIPE, "USD", "0.49", "0.5", "0.50 USD"),
        (STRIPE, "GBP", "0.29", "0.3", "0.30 GBP"),
        (STRIPE, "HUF", "174.99", "175", "175.00 HUF"),
        (STRIPE, "JPY", "49", "50", "50 JPY"),
        (STRIPE, "MXN", "9.99", "10", "10.00 MXN"),
        (STRIPE, "USD", "1000000", "999999.99", "999999.99 USD"),
        (STRIPE, "KRW", "100000000", "99999999", "99999999 KRW"),
        (STRIPE, "KWD", "100000", "99999.99", "99999.990 KWD"),
        (STRIPE, "ISK", "1000000", "999999", "999999 ISK"),
        (STRIPE, "INR", "10000000", "9999999.99", "9999999.99 INR"),
        (PAYPAL, "USD", "10000000", "9999999.99", "9999999.99 USD"),
        (PAYPAL, "HUF", "10000000", "9999999", "9999999.00 HUF"),
    ] {
        let cloud = Cloud::with(options(partner, currency)).await;
        let refused = cloud
            .post(CART, &with_checkout(costs(below), currency))
            .await;
        assert_problem(&refused, 422, "invalid_fields");
        assert_eq!(refused.pointers(), ["/items"], "{}", refused.text);
        assert!(details(&refused).contains(limit), "{}", refused.text);
        // Without checkout the cart may still change; its invoice is refused with the reason.
        let placed = cloud.post(CART, &costs(below)).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        let refused = cloud.post(INVOICE, &bills(&placed.body, currency)).await;
        assert_problem(&refused, 422, "invalid_fields");
        assert_eq!(refused.pointers(), ["/totalAmount"], "{}", refused.text);
        assert!(details(&refused).contains(limit), "{}", refused.text);
        // The suggested correction works.
        let mut update = costs(least);
        update["orderId"] = placed.body["orderId"].clone();
        let updated = cloud.post(CART, &update).await;
        assert_eq!(updated.status, 200, "{}", updated.text);
        let invoiced = cloud.post(INVOICE, &bills(&updated.body, currency)).await;
        assert_eq!(invoiced.status, 201, "{}", invoiced.text);
        let accepted = cloud
            .post(CART, &with_checkout(costs(least), currency))
            .await;
        assert_eq!(accepted.status, 201, "{}", accepted.text);
    }
    // A total of 0 is never refused, whatever the minimum.
    for partner in [STRIPE, PAYPAL] {
        let cloud = Cloud::with(options(partner, "HUF")).await;
        let shown = order_of(&cloud, &with_checkout(costs("0"), "HUF")).await;
        assert_eq!(shown["payment"]["state"], "free", "{shown}");
    }
}

/// A refused cart does not use up its key: the corrected one is accepted with the same key.
#[tokio::test]
async fn a_refused_total_uses_up_no_key() {
    let cloud = Cloud::with(options(STRIPE, "USD")).await;
    let key = "cart-1";
    let refused = with_checkout(costs("0.3"), "USD");
    for _ in 0..2 {
        let reply = cloud.post_with_key(CART, key, &refused).await;
        assert_problem(&reply, 422, "invalid_fields");
    }
    let corrected = with_checkout(costs("0.5"), "USD");
    let placed = cloud.post_with_key(CART, key, &corrected).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    let key = "update-1";
    let update = |price: &str| {
        let mut update = with_checkout(costs(price), "USD");
        update["orderId"] = placed.body["orderId"].clone();
        update
    };
    let reply = cloud.post_with_key(CART, key, &update("0.3")).await;
    assert_problem(&reply, 422, "invalid_fields");
    let updated = cloud.post_with_key(CART, key, &update("0.6")).await;
    assert_eq!(updated.status, 200, "{}", updated.text);
}

fn sandbox<P: BillingPartner>(cloud: Cloud<P>, options: Options) -> Cloud<Sandbox> {
    let partner = Sandbox::new(cloud.runtime.clone());
    cloud.redeployed(options, partner, Own)
}

#[tokio::test]
async fn repeats_are_answered_and_changes_refused_after_the_partner_has_changed() {
    for (currency, price, later, pointer) in [
        ("KWD", "1.125", STRIPE, "/items/0/price"),
        ("HUF", "200.5", PAYPAL, "/items/0/price"),
        ("USD", "0.3", STRIPE, "/items"),
        ("USD", "1000000", STRIPE, "/items"),
    ] {
        let cloud = Cloud::with(options(None, currency)).await;
        let body = with_checkout(costs(price), currency);
        let placed = cloud.post_with_key(CART, "create", &body).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        let mut update = body.clone();
        update["orderId"] = placed.body["orderId"].clone();
        update["checkout"]["name"] = "L. Hay".into();
        let updated = cloud.post_with_key(CART, "update", &update).await;
        assert_eq!(updated.status, 200, "{}", updated.text);

        let cloud = sandbox(cloud, options(later, currency));
        for (key, body, first) in [("create", &body, &placed), ("update", &update, &updated)] {
            let again = cloud.post_with_key(CART, key, body).await;
            assert_eq!((again.status, &again.text), (first.status, &first.text));
            let mut other = body.clone();
            other["checkout"]["name"] = "Somebody".into();
            let reply = cloud.post_with_key(CART, key, &other).await;
            assert_problem(&reply, 422, "idempotency_key_reused");
        }
        for key in [None, Some("another")] {
            let reply = match key {
                None => cloud.post(CART, &update).await,
                Some(key) => cloud.post_with_key(CART, key, &update).await,
            };
            assert_problem(&reply, 422, "invalid_fields");
            assert_eq!(reply.pointers(), [pointer], "{}", reply.text);
        }
    }
}

/// A cart that was accepted under another partner is charged as it is, or declined: it never hangs.
#[tokio::test]
async fn an_open_order_that_can_no_longer_be_charged_is_declined_and_can_be_cancelled() {
    for (before, currency, price, code) in [
        ("KWD", "KWD", "1.125", "amount_too_precise"),
        ("IQD", "USD", "5", "currency_not_supported"),
        ("USD", "USD", "0.3", "amount_too_small"),
        ("USD", "USD", "1000000", "amount_too_large"),
    ] {
        let cloud = Cloud::with(options(None, before)).await;
        let placed = cloud.post(CART, &with_checkout(costs(price), before)).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        let played = StripeDouble::new(cloud.runtime.clone());
        played.attach("cus_played", VISA);
        let client = stripe_client(&played.front(), cloud.runtime.clone());
        let cloud = cloud.redeployed(options(STRIPE, currency), client, Own);
        let agreed = cloud.post(AGREEMENT, &with_stripe(VISA)).await;
        assert_eq!(agreed.status, 201, "{}", agreed.text);
        cloud.settle().await;
        let order = text(&placed.body["orderId"]);
        let shown = cloud.get(order).await.body;
        assert_eq!(shown["payment"]["state"], "declined", "{shown}");
        assert_eq!(shown["payment"]["declineCode"], code, "{shown}");
        let reply = cloud.post(PAYMENT, &pays(&placed.body)).await;
        assert_problem(&reply, 402, "payment_declined");
        assert_eq!(reply.body["decline_code"], code);
        assert_eq!(reply.body["retryable"], false);
        assert!(played.captured().is_empty());
        let cancel = json!({"customerId": "8080", "orderId": order});
        let cancelled = cloud.post(CANCEL, &cancel).await;
        assert_eq!(cancelled.body["status"], "cancelled", "{}", cancelled.text);
    }
    for (before, currency, price) in [
        ("HUF", "HUF", "200.5"),
        ("KWD", "USD", "5"),
        ("USD", "USD", "10000000"),
    ] {
        let cloud = Cloud::with(options(None, before)).await;
        let placed = cloud.post(CART, &with_checkout(costs(price), before)).await;
        let (_double, front) = paypal_with(cloud.runtime.clone(), [], []);
        let client = paypal_client(&front, PayPalDouble::CLIENT, cloud.runtime.clone());
        let cloud = cloud.redeployed(options(PAYPAL, currency), client, Own);
        let agreed = cloud.post(AGREEMENT, &with_paypal(FIRST)).await;
        assert_eq!(agreed.status, 201, "{}", agreed.text);
        cloud.settle().await;
        let shown = cloud.get(text(&placed.body["orderId"])).await.body;
        assert_eq!(shown["payment"]["state"], "declined", "{shown}");
        assert_eq!(shown["payment"]["declineCode"], "amount_not_supported");
    }
}

/// A tie for each mode, in currencies with zero, two, and three decimals and in partners' units.
/// Half to even, half down, and truncation each give another amount.
#[tokio::test]
async fn half_a_unit_of_tax_is_rounded_away_from_zero_in_each_mode() {
    use TaxMode::{Added, Included, OfTotal};
    for (partner, currency, mode, rate, price, tax) in [
        (None, "USD", OfTotal, "0.18", "0.25", "0.05"),
        (None, "USD", Included, "0.6", "0.12", "0.05"),
        (None, "USD", Added, "0.18", "0.25", "0.05"),
        (None, "JPY", OfTotal, "0.18", "25", "5.0"),
        (None, "JPY", Included, "0.6", "12", "5.0"),
        (None, "JPY", Added, "0.18", "25", "5.0"),
        (None, "KWD", OfTotal, "0.18", "0.025", "0.005"),
        (None, "KWD", Included, "0.6", "0.012", "0.005"),
        (None, "KWD", Added, "0.18", "0.025", "0.005"),
        (STRIPE, "KWD", OfTotal, "0.18", "0.25", "0.05"),
        (STRIPE, "KWD", Included, "0.6", "0.12", "0.05"),
        (STRIPE, "KWD", Added, "0.18", "0.25", "0.05"),
        (PAYPAL, "HUF", OfTotal, "0.18", "25", "5.0"),
        (PAYPAL, "HUF", Included, "0.6", "12", "5.0"),
        (PAYPAL, "HUF", Added, "0.18", "25", "5.0"),
    ] {
        let options = Options {
            tax_mode: mode,
            tax_rate: rate,
            ..options(partner, currency)
        };
        let cloud = Cloud::with(options).await;
        let reply = cloud.post(CART, &costs(price)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        assert_eq!(
            reply.body["tax"].to_string(),
            tax,
            "{currency} {mode:?} {}",
            reply.text
        );
    }
}

/// A shop, and a cart for it.
#[derive(Clone, Debug)]
struct Sale {
    partner: PartnerName,
    currency: &'static str,
    mode: TaxMode,
    rate: &'static str,
    lines: Vec<(u32, i64)>,
}

fn sales() -> impl Strategy<Value = Sale> {
    let stripe = prop::sample::select(vec![
        "USD", "EUR", "GBP", "HUF", "TWD", "JPY", "KRW", "MGA", "ISK", "UGX", "KWD", "JOD", "TND",
        "CZK", "INR", "THB", "XAF",
    ]);
    let paypal = prop::sample::select(vec!["USD", "EUR", "HUF", "TWD", "JPY", "PLN", "MXN"]);
    let shop = prop_oneof![
        stripe.prop_map(|currency| (PartnerName::Stripe, currency)),
        paypal.prop_map(|currency| (PartnerName::PayPal, currency)),
    ];
    let mode = prop::sample::select(vec![TaxMode::OfTotal, TaxMode::Included, TaxMode::Added]);
    let rate = prop::sample::select(vec![
        "0", "0.05", "0.07", "0.16", "0.18", "0.27", "0.333", "1",
    ]);
    // In thousandths of the currency: mostly small, some at the partners' limits.
    let price = prop_oneof![
        5 => 0_i64..2_000,
        3 => 0_i64..100_000_000,
        1 => 990_000_000_i64..1_100_000_000,
        1 => 0_i64..1_000_000_000_000,
    ];
    // Half of the prices are whole, and most others have two decimals.
    let price = (
        price,
        prop::sample::select(vec![1_i64, 10, 10, 1_000, 1_000, 1_000]),
    );
    let price = price.prop_map(|(price, step)| price / step * step);
    let lines = prop::collection::vec((1_u32..4, price), 1..4);
    (shop, mode, rate, lines).prop_map(|((partner, currency), mode, rate, lines)| Sale {
        partner,
        currency,
        mode,
        rate,
        lines,
    })
}

impl Sale {
    fn cart(&self) -> Value {
        let items = self.lines.iter().map(|(quantity, thousandths)| {
            let price = Decimal::new(*thousandths, 3).normalize().to_string();
            json!({"productId": "1", "quantity": quantity, "price": number(&price)})
        });
        let items: Vec<_> = items.collect();
        with_checkout(json!({"customerId": "8080", "items": items}), self.currency)
    }

    /// The final state of the order; `None` if it was not accepted.
    async fn ends(&self) -> Option<Value> {
        let options = Options {
            tax_mode: self.mode,
            tax_rate: self.rate,
            ..options(Some(self.partner), self.currency)
        };
        match self.partner {
            PartnerName::Stripe => self.ends_in(at_stripe(options).await.0).await,
            PartnerName::PayPal => self.ends_in(at_paypal(options).await.0).await,
            PartnerName::Sandbox => unreachable!("the sandbox charges any amount"),
        }
    }

    async fn ends_in<P: BillingPartner>(&self, cloud: Cloud<P>) -> Option<Value> {
        let reply = cloud.post(CART, &self.cart()).await;
        if reply.status == 422 {
            return None;
        }
        assert_eq!(reply.status, 201, "{self:?} {}", reply.text);
        cloud.settle().await;
        Some(cloud.get(text(&reply.body["orderId"])).await.body)
    }
}

/// The doubles refuse what the partners refuse, so an accepted order that they refuse is a broken
/// promise.
#[test]
fn no_accepted_order_has_a_total_that_its_partner_refuses() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 240,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let accepted = std::cell::Cell::new(0);
    let mut runner = TestRunner::new_with_rng(config, random);
    let result = runner.run(&sales(), |sale| {
        if let Some(shown) = runtime.block_on(sale.ends()) {
            accepted.set(accepted.get() + 1);
            prop_assert_eq!(&shown["status"], "shipped", "{}", shown);
        }
        Ok(())
    });
    result.unwrap();
    assert!(accepted.get() > 60, "too quiet: {accepted:?}");
}

/// The lists in the template's rules match the partners' tables.
#[test]
fn cloudformation_refuses_the_currencies_that_the_functions_refuse() {
    let template = include_str!("../../template.yaml");
    for (rule, partner) in [
        ("StripeChargesInTheCurrency:", STRIPE),
        ("PayPalChargesInTheCurrency:", PAYPAL),
    ] {
        let (_, rule) = template
            .split_once(rule)
            .expect("the template has the rule");
        let (_, list) = rule.split_once("Fn::Contains:").unwrap();
        let (list, _) = list.split_once(']').unwrap();
        let listed: Vec<_> = list
            .split(|c: char| !c.is_ascii_uppercase())
            .filter(|code| code.len() == 3)
            .collect();
        let all = (b'A'..=b'Z').flat_map(|a| (b'A'..=b'Z').map(move |b| (a, b)));
        let all = all.flat_map(|(a, b)| (b'A'..=b'Z').map(move |c| [a, b, c]));
        let charged = all.filter_map(|code| {
            let code = String::from_utf8(code.to_vec()).ok()?;
            let currency: Currency = code.parse().ok()?;
            ChargeLimits::of(partner, currency).ok().map(|_| code)
        });
        assert_eq!(listed, charged.collect::<Vec<_>>());
    }
}
