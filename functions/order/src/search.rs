//! `GET /api/orders`: finds the orders that the caller may read, newest first.

use domain::{CustomerId, Order, OrderReference, Status, Timestamp, digest_hex};
use platform::telemetry;
use serde::Serialize;
use service::error::{Error, FieldError, Missing, Outcome};
use service::http::{Answer, Call, Caller, Parameters};
use store::OrderSearch;

use crate::cursor::Cursors;
use crate::{Orders, SummaryBody};

const PARAMETERS: [&str; 7] = [
    "customerId",
    "reference",
    "status",
    "from",
    "to",
    "limit",
    "cursor",
];

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundBody<'a> {
    orders: Vec<FoundOrder<'a>>,
    /// The cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundOrder<'a> {
    #[serde(flatten)]
    summary: SummaryBody<'a>,
    created_at: String,
}

impl<'a> FoundOrder<'a> {
    fn from_order(order: &'a Order) -> Self {
        Self {
            summary: SummaryBody::from_order(order),
            created_at: order.created_at.to_string(),
        }
    }
}

/// An unencoded `+` of an offset arrives as a space.
fn time(text: &str) -> Result<Timestamp, domain::TimestampError> {
    Timestamp::parse(&text.replace(' ', "+"))
}

fn status(text: &str) -> Result<Status, String> {
    let all: Vec<_> = Status::ALL.iter().map(Status::as_str).collect();
    text.parse()
        .map_err(|_| format!("must be one of: {}", all.join(", ")))
}

fn limit(text: &str) -> Result<usize, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|_| is_number);
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))
}

/// The search criteria and the page size.
struct SearchRequest {
    search: OrderSearch,
    limit: usize,
    cursor: Option<String>,
}

impl SearchRequest {
    fn read(call: &Call) -> Result<Self, Error> {
        let mut parameters = Parameters::from_call(call, &PARAMETERS);
        let customer = parameters.read("customerId", CustomerId::parse);
        let search = OrderSearch {
            customer: customer.clone().or_else(|| call.caller.only().cloned()),
            reference: parameters.read("reference", OrderReference::parse),
            status: parameters.read("status", status),
            from: parameters.read("from", time),
            to: parameters.read("to", time),
            touches_own_alone: call.caller.only().is_some(),
        };
        let limit = parameters.read("limit", limit);
        if search
            .from
            .zip(search.to)
            .is_some_and(|(from, to)| from >= to)
        {
            parameters.refuse("to", "must be later than from".to_owned());
        }
        let cursor = parameters.value("cursor").map(str::to_owned);
        parameters.finish()?;
        if let Some(customer) = customer {
            call.caller.check(&customer, Missing::Customer)?;
        }
        Ok(Self {
            search,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            cursor,
        })
    }
}

/// A hash of the caller and of all search criteria.
fn bound_to(caller: &Caller, search: &OrderSearch) -> String {
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.millis().to_string());
    digest_hex(&[
        "orders",
        caller.id(),
        search.customer.as_ref().map_or("", CustomerId::as_str),
        search.reference.as_ref().map_or("", OrderReference::as_str),
        search.status.as_ref().map_or("", Status::as_str),
        &time(search.from),
        &time(search.to),
    ])
}

impl Orders {
    pub(crate) async fn find(&self, call: &Call) -> Result<Answer, Error> {
        let request = SearchRequest::read(call)?;
        let search = &request.search;
        let cursors = Cursors {
            store: &self.store,
            now: self.runtime.now(),
            search: bound_to(&call.caller, search),
        };
        let progress = match &request.cursor {
            None => Vec::new(),
            Some(cursor) => {
                let opened = cursors.open(cursor, search.lists()).await?;
                opened.ok_or_else(not_a_cursor)?
            }
        };
        let found = self.store.find_orders(search, request.limit, &progress);
        let found = found.await?;
        for (order, source) in &found.unreadable {
            telemetry::count_fault();
            tracing::error!(order_id = %order, %source, "an order could not be read");
        }
        let next_cursor = match &found.next {
            None => None,
            Some(progress) => Some(cursors.seal(progress).await.map_err(of_a_read)?),
        };
        let orders = found.orders.iter().map(FoundOrder::from_order);
        Answer::ok(&FoundBody {
            orders: orders.collect(),
            next_cursor,
        })
    }
}

/// An error of a read: a key for cursors may have been created, but nothing visible to a caller has
/// changed.
fn of_a_read(error: Error) -> Error {
    match error {
        Error::Unavailable {
            dependency, source, ..
        } => Error::Unavailable {
            dependency,
            outcome: Outcome::NothingDone,
            source,
        },
        other => other,
    }
}

fn not_a_cursor() -> Error {
    Error::Invalid(vec![FieldError {
        pointer: "/cursor".to_owned(),
        detail: "must be the nextCursor of an answer to the same search by the same caller; \
                 search again without it"
            .to_owned(),
    }])
}
