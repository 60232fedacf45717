//! One request alone, and what anybody outside can see of it.

use serde_json::{Value, json};

use super::Simulation;
use crate::services::Reply;

impl Simulation {
    /// Sends one event to the API while all goes wrong as the plan says; returns the answer, how many
    /// effects it took, and how many items the tables hold afterwards.
    pub async fn send_once(&self, event: &Value) -> (Reply, u64, usize) {
        let reply = self.fleet.first().send(event).await;
        let effects = self.world.state().effects;
        (reply, effects, self.items())
    }

    /// After the next `calm` effects, loses the answers of the `lost` ones that follow, and throttles
    /// the `throttled` ones after those.
    pub fn strike(&self, calm: u64, lost: u64, throttled: u64) {
        let mut state = self.world.state();
        let first = state.effects + calm + 1;
        state.lost_answer_at = (first..first + lost).collect();
        state.throttled_at = (first + lost..first + lost + throttled).collect();
    }

    /// All that somebody outside could see of a request: what is stored, but for claims and keys, and
    /// what the other side has in its books.
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

    /// How many items the tables hold.
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
