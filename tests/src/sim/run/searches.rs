//! At the end, every order must be found: by its customer, by the shop, and by its reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Simulation;
use crate::services::{Reply, search};
use crate::sim::Faults;
use crate::sim::invariants::Violation;
use crate::sim::world::Indexes;

/// The same search with a customer's own token.
fn as_customer(mut event: Value, customer: &str) -> Value {
    event["requestContext"]["authorizer"]["jwt"]["claims"] =
        json!({"client_id": "shop-app", "sub": customer, "scope": "openid"});
    event
}

fn not_found(what: String) -> Violation {
    Violation::NotFound(what)
}

impl Simulation {
    /// Searches while the indexes lag behind, and once they have caught up.
    pub(super) async fn search(&self, answers: &BTreeMap<String, Reply>) -> Result<(), Violation> {
        {
            let mut state = self.world.state();
            state.faults = Faults::default();
            state.crash_at.clear();
            state.timeout_at.clear();
            state.lost_answer_at.clear();
            state.late_at.clear();
            state.throttled_at.clear();
            state.database_frozen = None;
        }
        for indexes in [Indexes::Behind, Indexes::CaughtUp] {
            self.world.state().indexes = indexes;
            let has = |found: &BTreeMap<String, Value>, order: &str| {
                indexes == Indexes::Behind || found.contains_key(order)
            };
            let of_shop = self
                .found(|query| search(&query), "limit=3", answers)
                .await?;
            for client in &self.clients {
                let Some(order) = &client.order else { continue };
                let customer = client.customer();
                let query = format!("customerId={customer}&limit=2");
                let of_customer = self.found(|query| search(&query), &query, answers).await?;
                let own = self.found(
                    |query| as_customer(search(&query), &customer),
                    "limit=2",
                    answers,
                );
                let own = own.await?;
                let same: BTreeSet<_> = own.keys().collect();
                if same != of_customer.keys().collect()
                    || own.values().any(|found| found["customerId"] != *customer)
                {
                    return Err(not_found(format!(
                        "{customer}: {own:?}, not {of_customer:?}"
                    )));
                }
                if !(has(&of_shop, order) && has(&own, order)) {
                    return Err(not_found(format!(
                        "{order} of {customer}: {own:?} {of_shop:?}"
                    )));
                }
                let Some(reference) = client.reference() else {
                    continue;
                };
                let query = format!("reference={reference}");
                let by_reference = self.found(|query| search(&query), &query, answers).await?;
                if !by_reference.keys().eq([order]) {
                    return Err(not_found(format!(
                        "{order} by {reference}: {by_reference:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The orders on all pages of a search, by ID.
    async fn found(
        &self,
        event: impl Fn(String) -> Value,
        query: &str,
        answers: &BTreeMap<String, Reply>,
    ) -> Result<BTreeMap<String, Value>, Violation> {
        let (mut found, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let page = self
                .fleet
                .first()
                .send(&event(format!("{query}{cursor}")))
                .await;
            if page.status != 200 {
                return Err(not_found(format!("{query}{cursor}: {}", page.text)));
            }
            for order in page.body["orders"].as_array().into_iter().flatten() {
                let id = order["orderId"].as_str().unwrap_or_default().to_owned();
                let shown = answers.get(&id);
                if shown.is_some_and(|shown| shown.body["status"] != order["status"]) {
                    return Err(not_found(format!("{order} is not {shown:?}")));
                }
                if found.insert(id, order.clone()).is_some() {
                    return Err(not_found(format!("{query}: {order} on two pages")));
                }
            }
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(found),
            }
        }
    }
}
