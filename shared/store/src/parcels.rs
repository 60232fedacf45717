//! The parcel of a paid order: registered, bought, refused, given up, shipped.
//!
//! A purchase of unknown outcome may take effect later. So each one has a name that is written down
//! before it is asked for, and is taken away once the carrier's answer proves how it ended. Once a
//! refusal is written down, no purchase of that parcel is begun any more, and when none is left open,
//! its label can never be bought: the order may have another parcel, or be cancelled.

use domain::{Command, OpenParcel, Order, OrderId, Shipment, ShippingRefusal, Status, Timestamp};

use super::item::{n, parcel_value, purchases_value, s, shipment_value, shipping_refusal_value};
use super::transition::{Change, OrderWrite};
use super::{Store, StoreError};

/// What became of a shipment.
#[derive(Clone, Debug)]
pub enum Shipping {
    /// It is shipped, now or before: this is the order as it stands.
    Shipped(Box<Order>),
    /// It is paid and not shipped: this is the order as it stands, after the write or as it refused
    /// it.
    Open(Box<Order>),
    /// The order is not paid.
    Refused(Status),
    /// No such order.
    NotFound,
}

impl Shipping {
    /// By the order that refused a write.
    fn standing(order: Option<Order>) -> Self {
        match order {
            None => Self::NotFound,
            Some(order) if order.shipment.is_some() => Self::Shipped(Box::new(order)),
            Some(order) if order.status == Status::Paid => Self::Open(Box::new(order)),
            Some(order) => Self::Refused(order.status),
        }
    }
}

/// A purchase of a label that is about to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'a> {
    /// A random name, made for this purchase alone.
    pub name: &'a str,
    /// When it begins.
    pub at: Timestamp,
}

/// The purchase that an earlier version may have begun, which wrote none down.
const EARLIER: &str = "earlier";

impl Store {
    /// Keeps a remote carrier's reference of a paid order's parcel, and the purchase of its label
    /// that follows at once; one write. The first reference stays: whoever comes later is given that
    /// one.
    pub async fn open_parcel(
        &self,
        id: &OrderId,
        parcel: &OpenParcel,
        purchase: Purchase<'_>,
    ) -> Result<Shipping, StoreError> {
        let opened = Self::change(id)
            .when_status(Status::Paid)
            .when("attribute_not_exists(parcel)")
            .set("parcel", parcel_value(parcel))
            .set(
                "purchases",
                purchases_value(&[(purchase.name, purchase.at)]),
            )
            .remove(["shippingRefusal"]);
        self.shipping(opened).await
    }

    /// Keeps that the label of the order's parcel, as it was read, is about to be bought; one write.
    /// Refused once the carrier has refused it. `expired` are purchases, as they were read, that
    /// provably did not take effect and no longer can.
    pub async fn begin_purchase(
        &self,
        order: &Order,
        purchase: Purchase<'_>,
        expired: &[String],
    ) -> Result<Shipping, StoreError> {
        let Some(begun) = of_parcel(order) else {
            return Ok(Shipping::standing(Some(order.clone())));
        };
        let begun = begun
            .when_status(Status::Paid)
            .when("attribute_not_exists(shippingRefusal)");
        let begun = if order.purchases.is_some() {
            let begun = without(begun, expired).name("#purchase", purchase.name);
            begun.set("purchases.#purchase", n(purchase.at.millis()))
        } else {
            let both = [(purchase.name, purchase.at), (EARLIER, purchase.at)];
            begun
                .when("attribute_not_exists(purchases)")
                .set("purchases", purchases_value(&both))
        };
        self.shipping(begun).await
    }

    /// Keeps that these purchases of the order's parcel, as it was read, provably did not take effect
    /// and no longer can; one write.
    pub async fn end_purchases(
        &self,
        order: &Order,
        names: &[String],
    ) -> Result<Shipping, StoreError> {
        let Some(ended) = of_parcel(order) else {
            return Ok(Shipping::standing(Some(order.clone())));
        };
        self.shipping(without(ended, names)).await
    }

    /// Keeps that the carrier refused the label of the order's parcel, as it was read; one write.
    /// The purchases of these names are answered with that.
    pub async fn refuse_purchase(
        &self,
        order: &Order,
        names: &[String],
        refusal: &ShippingRefusal,
    ) -> Result<Shipping, StoreError> {
        let Some(refused) = of_parcel(order) else {
            return Ok(Shipping::standing(Some(order.clone())));
        };
        let refused = match &order.purchases {
            Some(_) => without(refused, names),
            None => refused.set("purchases", purchases_value(&[(EARLIER, refusal.at)])),
        };
        let refused = refused
            .when_status(Status::Paid)
            .set("shippingRefusal", shipping_refusal_value(refusal));
        self.shipping(refused).await
    }

    /// Keeps that the carrier does not register a parcel of a paid order; one write.
    pub async fn refuse_parcel(
        &self,
        id: &OrderId,
        refusal: &ShippingRefusal,
    ) -> Result<Shipping, StoreError> {
        let refused = Self::change(id)
            .when_status(Status::Paid)
            .when("attribute_not_exists(parcel)")
            .set("shippingRefusal", shipping_refusal_value(refusal));
        self.shipping(refused).await
    }

    /// Forgets the refused parcel of a paid order, as it was read, so that another may be registered;
    /// one write. Every purchase that was read MUST have ended; none is begun after a refusal. The
    /// refusal stays until there is another parcel.
    pub async fn give_up_parcel(&self, order: &Order) -> Result<Shipping, StoreError> {
        let Some(given_up) = of_parcel(order) else {
            return Ok(Shipping::standing(Some(order.clone())));
        };
        let given_up = given_up
            .when_status(Status::Paid)
            .when("attribute_exists(shippingRefusal)")
            .remove(["parcel", "purchases"]);
        self.shipping(given_up).await
    }

    /// Ships a paid order; one write. What an order that was shipped before got stays as it is.
    ///
    /// `order` is as it was read, with the parcel that the label is for: a label that needed none is
    /// refused by an order that has one. [`Shipping::Open`] is an order that is still to be shipped
    /// and has changed since it was read.
    pub async fn ship(
        &self,
        order: &Order,
        shipment: &Shipment,
        now: Timestamp,
    ) -> Result<Shipping, StoreError> {
        let shipped = self.transition(order, Command::Ship, now);
        let shipped = match &order.parcel {
            None => shipped.when("attribute_not_exists(parcel)"),
            Some(parcel) => shipped
                .when_is("parcel.reference", s(&parcel.reference))
                .when_is("parcel.carrier", s(&parcel.carrier)),
        };
        let shipped = shipped
            .set("shipment", shipment_value(shipment))
            .remove(["purchases", "shippingRefusal"]);
        Ok(match self.conditional(shipped).await? {
            Ok(order) => Shipping::Shipped(Box::new(order)),
            Err(standing) => Shipping::standing(standing),
        })
    }

    async fn shipping<Kind>(&self, write: OrderWrite<Kind>) -> Result<Shipping, StoreError> {
        Ok(match self.conditional(write).await? {
            Ok(order) => Shipping::Open(Box::new(order)),
            Err(standing) => Shipping::standing(standing),
        })
    }
}

/// A change of the parcel that the order has, as it was read.
fn of_parcel(order: &Order) -> Option<Change> {
    let parcel = order.parcel.as_ref()?;
    let change = Store::change(&order.id)
        .when_is("parcel.reference", s(&parcel.reference))
        .when_is("parcel.carrier", s(&parcel.carrier));
    Some(change)
}

/// Without the purchases of these names.
fn without(change: Change, names: &[String]) -> Change {
    let mut change = change;
    for (index, name) in names.iter().enumerate() {
        let placeholder = format!("#ended{index}");
        let path = format!("purchases.{placeholder}");
        change = change.name(&placeholder, name).remove([path.as_str()]);
    }
    change
}
