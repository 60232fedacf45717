//! AWS's refusals, with the names and formats that AWS publishes: "Error handling with DynamoDB",
//! "Amazon DynamoDB API Reference" (Common Errors, `BatchGetItem`, `TransactWriteItems`), "Amazon
//! SQS API Reference" (Common Errors, `SendMessageBatch`).

use serde_json::{Value, json};

use super::wire::{Call, Delivery, Reply};

/// Whether a call is carried out before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails before it is carried out.
    Before,
    /// It fails after it was carried out.
    After,
}

/// The part of a batch that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One part of it.
    Some,
    /// All of it.
    All,
}

/// What arrives instead of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// An HTML page of an intermediary, with this status.
    Html(u16),
    /// Half of the answer, with the length of the whole.
    Half,
    /// The answer with a changed byte: `x-amz-crc32` does not match.
    Changed,
    /// An answer longer than any of AWS's.
    Oversized,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing more arrives.
    Silence,
    /// RST.
    Reset,
    /// FIN.
    Closed,
}

/// One way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Throttles the call; nothing is done.
    Busy(&'static str),
    /// Refuses until an operator corrects something; nothing is done.
    Denied(&'static str),
    /// Fails on AWS's side.
    Failed(&'static str, u16, Effect),
    /// Cancels a transaction, with this reason for its first item.
    Cancelled(&'static str),
    /// Leaves keys of a batch unread (`UnprocessedKeys`).
    Unprocessed(Share),
    /// Refuses messages of a batch (`Failed`) in an answer with status 200.
    Untaken(Share),
    /// Carries the call out, but something other than the answer arrives.
    Garbled(Garbage),
    /// The connection ends.
    Lost(Loss, Effect),
}

use Effect::{After, Before};
use Refusal::{Busy, Cancelled, Denied, Failed, Garbled, Lost, Unprocessed, Untaken};

/// The refusals that every service has.
const EVERYWHERE: &[Refusal] = &[
    Busy("ThrottlingException"),
    Busy("RequestLimitExceeded"),
    Denied("AccessDeniedException"),
    Denied("UnrecognizedClientException"),
    Denied("ExpiredTokenException"),
    Denied("ValidationException"),
    Failed("InternalServerError", 500, Before),
    Failed("InternalServerError", 500, After),
    Failed("ServiceUnavailable", 503, Before),
    Garbled(Garbage::Html(200)),
    Garbled(Garbage::Html(403)),
    Garbled(Garbage::Html(502)),
    Garbled(Garbage::Half),
    Garbled(Garbage::Oversized),
    Lost(Loss::Silence, Before),
    Lost(Loss::Silence, After),
    Lost(Loss::Reset, Before),
    Lost(Loss::Reset, After),
    Lost(Loss::Closed, Before),
    Lost(Loss::Closed, After),
];

impl Refusal {
    /// Every refusal of an operation.
    #[must_use]
    pub fn all_of(operation: &str) -> Vec<Self> {
        let own: &[Self] = match operation {
            "SendMessageBatch" => &[
                Denied("AWS.SimpleQueueService.NonExistentQueue"),
                Untaken(Share::Some),
                Untaken(Share::All),
            ],
            "TransactWriteItems" => &[
                Busy("ProvisionedThroughputExceededException"),
                Busy("TransactionInProgressException"),
                Cancelled("TransactionConflict"),
                Cancelled("ThrottlingError"),
                Cancelled("ProvisionedThroughputExceeded"),
                Cancelled("ValidationError"),
                Denied("ResourceNotFoundException"),
                Garbled(Garbage::Changed),
            ],
            "BatchGetItem" => &[
                Busy("ProvisionedThroughputExceededException"),
                Denied("ResourceNotFoundException"),
                Unprocessed(Share::Some),
                Unprocessed(Share::All),
                Garbled(Garbage::Changed),
            ],
            "PutItem" | "UpdateItem" => &[
                Busy("ProvisionedThroughputExceededException"),
                Busy("TransactionConflictException"),
                Denied("ResourceNotFoundException"),
                Denied("ItemCollectionSizeLimitExceededException"),
                Garbled(Garbage::Changed),
            ],
            // `GetItem` is also rejected if it conflicts with a transaction ("Transaction conflicts
            // in DynamoDB").
            "GetItem" => &[
                Busy("ProvisionedThroughputExceededException"),
                Busy("TransactionConflictException"),
                Denied("ResourceNotFoundException"),
                Garbled(Garbage::Changed),
            ],
            _ => &[
                Busy("ProvisionedThroughputExceededException"),
                Denied("ResourceNotFoundException"),
                Garbled(Garbage::Changed),
            ],
        };
        [EVERYWHERE, own].concat()
    }

    /// Whether the same call can succeed a moment later.
    #[must_use]
    pub fn passes(&self) -> bool {
        !matches!(self, Denied(_) | Cancelled("ValidationError"))
    }

    /// Answers `call`; `carry_out` carries it out.
    pub(super) fn answer(self, call: &Call, carry_out: impl FnOnce(&Call) -> Reply) -> Delivery {
        let whole = Delivery::Whole;
        match self {
            Busy(code) | Denied(code) => whole(error(400, code)),
            Failed(code, status, effect) => {
                if effect == After {
                    carry_out(call);
                }
                whole(error(status, code))
            }
            Cancelled(reason) => whole(cancelled(&call.body, reason)),
            Unprocessed(share) => whole(unprocessed(call, share, carry_out)),
            Untaken(share) => whole(untaken(call, share, carry_out)),
            Garbled(garbage) => garbled(garbage, carry_out(call)),
            Lost(loss, effect) => {
                if effect == After {
                    carry_out(call);
                }
                Delivery::Lost(loss)
            }
        }
    }
}

fn error(status: u16, code: &str) -> Reply {
    let body = json!({"__type": format!("com.amazonaws.played#{code}"), "message": "played"});
    Reply::json(status, &body)
}

/// `TransactionCanceledException`, with one reason for each item in their order.
fn cancelled(request: &Value, reason: &str) -> Reply {
    let items = request["TransactItems"].as_array().map_or(1, Vec::len);
    let reasons = (0..items).map(|index| match index {
        0 => json!({"Code": reason, "Message": "played"}),
        _ => json!({"Code": "None"}),
    });
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!("Transaction cancelled, specific reasons [{reason}]"),
        "CancellationReasons": reasons.collect::<Vec<_>>(),
    });
    Reply::json(400, &body)
}

/// Reads a batch without one table, or without any.
fn unprocessed(call: &Call, share: Share, carry_out: impl FnOnce(&Call) -> Reply) -> Reply {
    let mut read = call.clone();
    let mut left_out = call.body["RequestItems"].clone();
    let wanted = left_out.as_object_mut().map_or(0, |tables| tables.len());
    if share == Share::Some && wanted > 1 {
        if let Some(tables) = read.body["RequestItems"].as_object_mut() {
            tables.retain(|table, _| table != "OrdersTable");
        }
        if let Some(tables) = left_out.as_object_mut() {
            tables.retain(|table, _| table == "OrdersTable");
        }
        let mut reply = carry_out(&read);
        let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        body["UnprocessedKeys"] = left_out;
        reply = Reply::json(reply.status, &body);
        return reply;
    }
    Reply::json(200, &json!({"Responses": {}, "UnprocessedKeys": left_out}))
}

/// Takes a batch without its first message, or without any.
fn untaken(call: &Call, share: Share, carry_out: impl FnOnce(&Call) -> Reply) -> Reply {
    let entries = call.body["Entries"].as_array().cloned().unwrap_or_default();
    let refused = if share == Share::All {
        entries.len()
    } else {
        1
    };
    let (refused, taken) = entries.split_at(refused.min(entries.len()));
    let failed = refused.iter().map(|entry| {
        json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError", "Message": "played"})
    });
    let mut body = json!({"Successful": []});
    if !taken.is_empty() {
        let mut rest = call.clone();
        rest.body["Entries"] = taken.into();
        body = serde_json::from_slice(&carry_out(&rest).body).unwrap_or_default();
    }
    body["Failed"] = failed.collect();
    Reply::json(200, &body)
}

fn garbled(garbage: Garbage, mut reply: Reply) -> Delivery {
    match garbage {
        Garbage::Html(status) => Delivery::Whole(Reply {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body: b"<html><body><h1>Please stand by</h1></body></html>".to_vec(),
        }),
        Garbage::Half => Delivery::Half(reply),
        Garbage::Changed => {
            // Still JSON, still of its shape, and another text.
            reply.body.push(b' ');
            Delivery::Whole(reply)
        }
        Garbage::Oversized => Delivery::Oversized(reply),
    }
}
