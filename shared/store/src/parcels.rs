//! The parcel of a paid order: registered, bought, refused, given up, shipped.
//!
//! A purchase with an unknown outcome may take effect later. Each purchase therefore has a name,
//! which is stored before the purchase is requested and removed once the carrier's answer proves
//! its outcome. Once a refusal is stored, no further purchase of that parcel begins. When none is
//! open any more, its label can never be bought, and the order may get another parcel or be
//! cancelled.

use std::collections::BTreeMap;

use domain::{Command, OpenParcel, Order, OrderId, Shipment, ShippingRefusal, Status, Timestamp};

use super::item::{n, parcel_value, purchases_value, s, shipment_value, shipping_refusal_value};
use super::refunds::in_turn;
use super::transition::{Change, OrderWrite};
use super::{Store, StoreError, TRIES};

/// Outcome of a write about a shipment.
#[derive(Clone, Debug)]
pub enum Shipping {
    /// The order is shipped, by this or an earlier write; this is its current state.
    Shipped(Box<Order>),
    /// The order is paid and not shipped. This is its state after the write, or the state that
    /// refused the write.
    Open(Box<Order>),
    /// The order is not paid.
    Refused(Status),
    /// The order does not exist.
    NotFound,
}

impl Shipping {
    /// The outcome that follows from the order that refused a write.
    fn standing(order: Option<Order>) -> Self {
        match order {
            None => Self::NotFound,
            Some(order) if order.shipment.is_some() => Self::Shipped(Box::new(order)),
            Some(order) if order.status == Status::Paid => Self::Open(Box::new(order)),
            Some(order) => Self::Refused(order.status),
        }
    }
}

/// A purchase of a label that is about to be requested.
#[derive(Clone, Copy, Debug)]
pub struct Purchase<'a> {
    /// A random name, unique to this purchase.
    pub name: &'a str,
    /// When it begins.
    pub at: Timestamp,
}

/// Stands for a purchase that an earlier version may have begun: that version stored none.
const EARLIER: &str = "earlier";

impl Store {
    /// Stores a remote carrier's reference of a paid order's parcel, and the purchase of its label
    /// that follows at once; one write. The first reference wins: later callers get that one.
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

    /// Records that the label of the order's parcel, as it was read, is about to be bought; one
    /// write. Refused once the carrier has refused it. `expired` names purchases, as they were
    /// read, that provably had no effect and no longer can have one.
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

    /// Records that these purchases of the order's parcel, as it was read, provably had no effect
    /// and no longer can have one; one write. It ends a shipment as [`Store::refuse_purchase`]
    /// does.
    pub async fn end_purchases(
        &self,
        order: &Order,
        names: &[String],
        now: Timestamp,
    ) -> Result<Shipping, StoreError> {
        self.end(order, names, None, now).await
    }

    /// Records that the carrier refused the label of the order's parcel, as it was read; one write.
    /// The refusal answers the purchases with these names.
    ///
    /// If no purchase remains open, the shipment has ended. If all of the order's money was
    /// refunded since the shipment began, the same write cancels the order.
    pub async fn refuse_purchase(
        &self,
        order: &Order,
        names: &[String],
        refusal: &ShippingRefusal,
    ) -> Result<Shipping, StoreError> {
        self.end(order, names, Some(refusal), refusal.at).await
    }

    async fn end(
        &self,
        order: &Order,
        names: &[String],
        refusal: Option<&ShippingRefusal>,
        now: Timestamp,
    ) -> Result<Shipping, StoreError> {
        let Some(parcel) = &order.parcel else {
            return Ok(Shipping::standing(Some(order.clone())));
        };
        let ending = Ending {
            parcel,
            names,
            refusal,
        };
        let mut order = order.clone();
        for _ in 0..TRIES {
            let written = if let Some(reason) = ending.leaves(&order).gone(&order.refunds) {
                let gone = self.gone(&order, reason, now);
                let gone = only_these(gone, &order, names);
                self.conditional(ending.of(gone, &order)).await?
            } else {
                let ended = ending.of(Self::change(&order.id), &order);
                self.conditional(ended).await?
            };
            match written {
                Err(Some(standing)) if is_overtaken_by_a_refund(&order, &standing) => {
                    order = standing;
                }
                Err(standing) => return Ok(Shipping::standing(standing)),
                Ok(order) => return Ok(Shipping::standing(Some(order))),
            }
        }
        Err(StoreError::Conflict)
    }

    /// Records that the carrier refused to register a parcel of a paid order; one write.
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

    /// Removes the refused parcel of a paid order, as it was read, so that another one may be
    /// registered; one write. Every purchase that was read MUST have ended; none begins after a
    /// refusal. The refusal stays until there is another parcel.
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

    /// Ships a paid order; one write. An order that was shipped before keeps its shipment.
    ///
    /// `order` is as it was read, with the parcel that the label is for. A label without a parcel
    /// is refused if the order has one. [`Shipping::Open`] means that the order is still to be
    /// shipped and has changed since it was read.
    pub async fn ship(
        &self,
        order: &Order,
        shipment: &Shipment,
        now: Timestamp,
    ) -> Result<Shipping, StoreError> {
        let shipped = self.transition(order, Command::Ship, now);
        let shipped = shipped
            .when_parcel(order.parcel.as_ref())
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

/// A change that requires the order to have the parcel that was read.
fn of_parcel(order: &Order) -> Option<Change> {
    let parcel = order.parcel.as_ref()?;
    Some(Store::change(&order.id).when_parcel(Some(parcel)))
}

/// The end of purchases that did not produce a label.
struct Ending<'a> {
    parcel: &'a OpenParcel,
    names: &'a [String],
    refusal: Option<&'a ShippingRefusal>,
}

impl Ending<'_> {
    /// Adds the end of these purchases to the write.
    fn of<Kind>(&self, write: OrderWrite<Kind>, order: &Order) -> OrderWrite<Kind> {
        let ended = in_turn(write.when_parcel(Some(self.parcel)), order);
        match (self.refusal, &order.purchases) {
            (None, _) => without(ended, self.names),
            (Some(refusal), Some(_)) => refused(without(ended, self.names), refusal),
            (Some(refusal), None) => {
                let earlier = purchases_value(&[(EARLIER, refusal.at)]);
                refused(ended.set("purchases", earlier), refusal)
            }
        }
    }

    /// The order as it is after the write.
    fn leaves(&self, order: &Order) -> Order {
        let mut after = order.clone();
        if let Some(purchases) = &mut after.purchases {
            purchases.retain(|name, _| !self.names.contains(name));
        }
        if let Some(refusal) = self.refusal {
            after.shipping_refusal = Some(refusal.clone());
        }
        after
    }
}

fn refused<Kind>(write: OrderWrite<Kind>, refusal: &ShippingRefusal) -> OrderWrite<Kind> {
    write
        .when_is("status", s(Status::Paid.as_str()))
        .set("shippingRefusal", shipping_refusal_value(refusal))
}

/// Refused if any other purchase is open, or if one of these is not.
fn only_these<Kind>(write: OrderWrite<Kind>, order: &Order, names: &[String]) -> OrderWrite<Kind> {
    let open = order.purchases.as_ref().map_or(0, BTreeMap::len);
    let mut write = write
        .when("size(purchases) = :open")
        .value(":open", n(open));
    for index in 0..names.len() {
        write = write.when(&format!("attribute_exists(purchases.#ended{index})"));
    }
    write
}

/// Whether the write failed because refunds have changed, and the order is otherwise as expected.
fn is_overtaken_by_a_refund(order: &Order, standing: &Order) -> bool {
    standing.refunds_revision != order.refunds_revision
        && standing.status == Status::Paid
        && standing.parcel == order.parcel
}

impl<Kind> OrderWrite<Kind> {
    /// Refused unless the order has this parcel, or none.
    pub(super) fn when_parcel(self, parcel: Option<&OpenParcel>) -> Self {
        match parcel {
            None => self.when("attribute_not_exists(parcel)"),
            Some(parcel) => self.when_parcel_is(&parcel.carrier, &parcel.reference),
        }
    }

    /// Refused unless the order has the parcel with this reference at that carrier.
    pub(super) fn when_parcel_is(self, carrier: &str, reference: &str) -> Self {
        self.when_is("parcel.reference", s(reference))
            .when_is("parcel.carrier", s(carrier))
    }
}

/// Removes the purchases with these names.
fn without<Kind>(write: OrderWrite<Kind>, names: &[String]) -> OrderWrite<Kind> {
    let mut write = write;
    for (index, name) in names.iter().enumerate() {
        let placeholder = format!("#ended{index}");
        let path = format!("purchases.{placeholder}");
        write = write.name(&placeholder, name).remove([path.as_str()]);
    }
    write
}
