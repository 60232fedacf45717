//! A shop with one order at the stage where a test begins, and the requests that bring an order
//! there.

use domain::OrderId;
use payment::partners::{BillingPartner, Partners};
use platform::runtime::Runtime;
use serde_json::{Value, json};
use shipment::carriers::{Carrier, Own};
use tests::{Cloud, Options, PlayedPartner, Reply, customer_request};

use crate::contract::{self, cart_with_checkout, text};

const CART: &str = "/api/order/cart.json";
const INVOICE: &str = "/api/order/invoice.json";
const PAYMENT: &str = "/api/order/payment.json";
const CANCEL: &str = "/api/order/cancel.json";
const AGREEMENT: &str = "/api/customer/billing.json";

/// Places an order with that cart.
pub(crate) async fn place<P: BillingPartner, C: Carrier>(
    cloud: &Cloud<P, C>,
    cart: &Value,
) -> String {
    let reply = cloud.post(CART, cart).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    text(&reply.body["orderId"]).to_owned()
}

/// Issues the invoice of an order of the contract's cart.
pub(crate) async fn invoice<P: BillingPartner, C: Carrier>(cloud: &Cloud<P, C>, order: &str) {
    let reply = cloud.post(INVOICE, &contract::invoice(order)).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}

/// The body that pays an order of the contract's cart.
pub(crate) fn payment(order: &str) -> Value {
    contract::payment(&order.replacen("ord_", "inv_", 1))
}

/// Pays an order of the contract's cart.
pub(crate) async fn pay<P: BillingPartner, C: Carrier>(cloud: &Cloud<P, C>, order: &str) -> Reply {
    cloud.post(PAYMENT, &payment(order)).await
}

/// A shop that bills by the client `P`, with one order of customer 8080.
pub(crate) struct Shop<P, D> {
    pub(crate) cloud: Cloud<P>,
    /// The test's handle of the billing partner's double.
    pub(crate) partner: D,
    pub(crate) order: String,
}

/// A shop at the scripted partner.
pub(crate) type PlayedShop = Shop<PlayedPartner, PlayedPartner>;

/// A new scripted partner: `Shop::at(played)`.
pub(crate) fn played(_: Runtime) -> (PlayedPartner, PlayedPartner) {
    let partner = PlayedPartner::default();
    (partner.clone(), partner)
}

/// A shop before its order is placed.
pub(crate) struct Opening<F> {
    partner: F,
    options: Options,
    cart: Value,
    agreement: Option<Value>,
}

impl<P: BillingPartner, D> Shop<P, D> {
    /// Bills through the partner that `partner` creates: its client, and the test's handle.
    pub(crate) fn at<F: FnOnce(Runtime) -> (P, D)>(partner: F) -> Opening<F> {
        Opening {
            partner,
            options: Options::default(),
            cart: cart_with_checkout(),
            agreement: None,
        }
    }
}

impl<F> Opening<F> {
    /// Uses these options.
    pub(crate) fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Orders this cart instead of the contract's cart with its checkout.
    pub(crate) fn cart(self, cart: Value) -> Self {
        Self { cart, ..self }
    }

    /// The customer agrees to this before the order is placed.
    pub(crate) fn approved(self, agreement: Value) -> Self {
        let agreement = Some(agreement);
        Self { agreement, ..self }
    }

    /// A placed order.
    pub(crate) async fn placed<P: BillingPartner, D>(self) -> Shop<P, D>
    where
        F: FnOnce(Runtime) -> (P, D),
    {
        let mut made = None;
        let client = |runtime| {
            let (client, partner) = (self.partner)(runtime);
            made = Some(partner);
            client
        };
        let cloud = Cloud::with_partner(self.options, client).await;
        if let Some(agreement) = &self.agreement {
            approve(&cloud, agreement).await;
        }
        let order = place(&cloud, &self.cart).await;
        Shop {
            cloud,
            partner: made.unwrap(),
            order,
        }
    }

    /// An invoiced order.
    pub(crate) async fn invoiced<P: BillingPartner, D>(self) -> Shop<P, D>
    where
        F: FnOnce(Runtime) -> (P, D),
    {
        let shop = self.placed().await;
        shop.invoice().await;
        shop
    }

    /// A paid order.
    pub(crate) async fn paid<P: BillingPartner, D>(self) -> Shop<P, D>
    where
        F: FnOnce(Runtime) -> (P, D),
    {
        let shop = self.invoiced().await;
        let reply = shop.pay().await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        shop
    }
}

async fn approve<P: BillingPartner>(cloud: &Cloud<P>, agreement: &Value) {
    let reply = cloud.post(AGREEMENT, agreement).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
}

impl<P: BillingPartner, D> Shop<P, D> {
    /// Takes the test's handle of the partner out of the shop.
    pub(crate) fn apart(self) -> (Shop<P, ()>, D) {
        let shop = Shop {
            cloud: self.cloud,
            partner: (),
            order: self.order,
        };
        (shop, self.partner)
    }

    /// The same order, with functions that bill through another client.
    pub(crate) fn redeployed<Q: BillingPartner>(self, client: Q) -> Shop<Q, D> {
        self.redeployed_with(client.into())
    }

    /// Does the same with several billing partners.
    pub(crate) fn redeployed_with<Q: BillingPartner>(self, partners: Partners<Q>) -> Shop<Q, D> {
        let options = Options::default();
        Shop {
            cloud: self.cloud.redeployed_with(options, partners, Own),
            partner: self.partner,
            order: self.order,
        }
    }

    pub(crate) fn id(&self) -> OrderId {
        OrderId::parse(&self.order).unwrap()
    }

    pub(crate) async fn invoice(&self) {
        invoice(&self.cloud, &self.order).await;
    }

    pub(crate) async fn pay(&self) -> Reply {
        pay(&self.cloud, &self.order).await
    }

    pub(crate) async fn pay_with(&self, key: &str) -> Reply {
        let body = payment(&self.order);
        self.cloud.post_with_key(PAYMENT, key, &body).await
    }

    pub(crate) async fn cancel(&self) -> Reply {
        let body = json!({"customerId": "8080", "orderId": self.order});
        self.cloud.post(CANCEL, &body).await
    }

    pub(crate) async fn approve(&self, agreement: &Value) {
        approve(&self.cloud, agreement).await;
    }

    /// The customer revokes the agreement.
    pub(crate) async fn revoke(&self) {
        let request = customer_request("DELETE", "8080", "");
        let reply = self.cloud.send(&request).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    /// The order as the API shows it.
    pub(crate) async fn shown(&self) -> Value {
        self.cloud.get(&self.order).await.body
    }

    /// The state of its payment.
    pub(crate) async fn state(&self) -> String {
        text(&self.shown().await["payment"]["state"]).to_owned()
    }

    /// The subjects of the mails, sorted, with `…` for the order's ID.
    pub(crate) fn mails(&self) -> Vec<String> {
        let taken = self.cloud.mailer.taken().into_iter();
        let mut subjects: Vec<String> = taken
            .map(|sent| sent.mail.subject.replace(&self.order, "…"))
            .collect();
        subjects.sort();
        subjects
    }
}
