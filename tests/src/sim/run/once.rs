//! A single request, and its effects that are visible from outside.

use serde_json::{Value, json};

use super::Simulation;
use crate::services::Reply;

impl Simulation {
    /// Sends one event to the API with the faults of the plan; returns the answer, the number of
    /// effects, and the number of items in the tables afterwards.
    pub async fn send_once(&self, event: &Value) -> (Reply, u64, usize) {
        let reply = self.fleet.first().send(event).await;
        let effects = self.world.state().effects;
        (reply, effects, self.items())
    }

    /// After the next `calm` effects, loses the answers of the following `lost` ones, and throttles
    /// the following `throttled` ones.
    pub fn strike(&self, calm: u64, lost: u64, throttled: u64) {
        let mut state = self.world.state();
        let first = state.effects + calm + 1;
        state.lost_answer_at = (first..first + lost).collect();
        state.throttled_at = (first + lost..first + lost + throttled).collect();
    }

    /// All effects of a request that are visible from outside: the stored data, except for claims
    /// and keys, and the books of the external services.
    #[must_use]
    pub fn seen(&self) -> String {
        let mut seen = Vec::new();
        for table in ["OrdersTable", "InvoicesTable", "CustomersTable"] {
            let request = serde_json::from_value(json!({ "TableName": table }))
                .expect("a scan needs a table's name only");
            let scan = self.engine.scan(request).expect("the table is there");
            let mut scan = json!(scan);
            for item in scan["Items"].as_array_mut().into_iter().flatten() {
                let charge = item["payment"]["M"]["charge"].take();
                item["payment"] = charge;
                item["event"] = Value::Null;
            }
            seen.push(scan["Items"].to_string());
        }
        let state = self.world.state();
        let charges = state.charges.iter();
        let moved =
            charges.map(|(reference, charge)| (reference, charge.captures, &charge.refunds));
        let moved: Vec<_> = moved.filter(|(_, captures, _)| *captures > 0).collect();
        let labels = state.parcels.values().filter_map(|each| each.label.clone());
        let labels: Vec<_> = labels.collect();
        let queued: Vec<_> = state.queues.values().map(Vec::len).collect();
        seen.push(format!("{moved:?} {labels:?} {:?} {queued:?}", state.mails));
        seen.join("\n")
    }

    /// The number of items in the tables.
    fn items(&self) -> usize {
        [
            "OrdersTable",
            "InvoicesTable",
            "EmailsTable",
            "IdempotencyTable",
        ]
        .map(|table| {
            let request = serde_json::from_value(json!({ "TableName": table }))
                .expect("a scan needs a table's name only");
            let scan = self.engine.scan(request).expect("the table is there");
            scan.count
        })
        .into_iter()
        .sum()
    }
}
