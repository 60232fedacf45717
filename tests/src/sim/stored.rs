//! The orders as they are stored, for the observers of a history.

use std::collections::BTreeMap;
use std::rc::Rc;

use domain::{Order, OrderId};
use store::Store;

use super::World;

/// Reads an order again only after a write that names it: an observer looks far more often than
/// anything changes.
#[derive(Debug)]
pub(super) struct Stored {
    store: Store,
    world: World,
    orders: BTreeMap<OrderId, Rc<Order>>,
}

impl Stored {
    /// `store` must not fail; `world` is that of the writers.
    pub(super) fn new(store: &Store, world: &World) -> Self {
        Self {
            store: store.clone(),
            world: world.clone(),
            orders: BTreeMap::new(),
        }
    }

    /// `None` if there is no such order, or if this version cannot read it.
    pub(super) async fn order(&mut self, id: &OrderId) -> Option<Rc<Order>> {
        if self.world.state().written.remove(id.to_string().as_str()) {
            self.orders.remove(id);
        }
        if let Some(order) = self.orders.get(id) {
            return Some(Rc::clone(order));
        }
        let order = Rc::new(self.store.order(id).await.ok().flatten()?);
        self.orders.insert(*id, Rc::clone(&order));
        Some(order)
    }
}
