//! Reads orders, and single attributes, from items.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use domain::{
    Amounts, Card, Charge, ClientSecret, Contact, CustomerId, Decline, Delivery, Dispute, Due,
    DueStep, Email, EventMark, EventRecord, EventType, Line, Metadata, MethodFingerprint, Money,
    NextAction, OpenParcel, Order, OrderId, OrderLines, OrderReference, PartnerAccount,
    PartnerName, Payment, ProductId, Quantity, Refund, RefundName, RefundNews, RefundState,
    RefundStatus, RefundedItem, Shipment, ShippingRefusal, Text, Timestamp, TrackingNumber,
};

use super::{Corrupt, Item};

/// Reads the attributes of one item or map.
pub(crate) struct Reader<'a>(pub(crate) &'a Item);

impl<'a> Reader<'a> {
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&'a str>, Corrupt> {
        self.0
            .get(name)
            .map(|value| value.as_s().map(String::as_str).map_err(|_| Corrupt(name)))
            .transpose()
    }

    pub(crate) fn required_text(&self, name: &'static str) -> Result<&'a str, Corrupt> {
        self.text(name)?.ok_or(Corrupt(name))
    }

    /// A string or number attribute, parsed by its type's own rules.
    pub(crate) fn parsed<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Corrupt> {
        let text = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::S(text) | Value::N(text)) => text,
            Some(_) => return Err(Corrupt(name)),
        };
        parse(text).map(Some).ok_or(Corrupt(name))
    }

    pub(crate) fn required<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Corrupt> {
        self.parsed(name, parse)?.ok_or(Corrupt(name))
    }

    pub(crate) fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, Corrupt> {
        self.parsed(name, |text| text.parse().ok())
    }

    pub(crate) fn required_number<T: FromStr>(&self, name: &'static str) -> Result<T, Corrupt> {
        self.number(name)?.ok_or(Corrupt(name))
    }

    pub(crate) fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Corrupt> {
        Ok(self.number(name)?.map(Timestamp::from_millis))
    }

    pub(crate) fn required_time(&self, name: &'static str) -> Result<Timestamp, Corrupt> {
        self.time(name)?.ok_or(Corrupt(name))
    }

    fn bool(&self, name: &'static str) -> Result<bool, Corrupt> {
        match self.0.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().copied().map_err(|_| Corrupt(name)),
        }
    }

    fn map(&self, name: &'static str) -> Result<Option<Reader<'a>>, Corrupt> {
        self.0
            .get(name)
            .map(|value| value.as_m().map(Reader).map_err(|_| Corrupt(name)))
            .transpose()
    }

    /// A map of maps, with its keys.
    fn entries(&self, name: &'static str) -> Result<Vec<(&'a str, Reader<'a>)>, Corrupt> {
        let Some(value) = self.0.get(name) else {
            return Ok(Vec::new());
        };
        let entries = value.as_m().map_err(|_| Corrupt(name))?;
        entries
            .iter()
            .map(|(key, value)| {
                let value = value.as_m().map(Reader).map_err(|_| Corrupt(name))?;
                Ok((key.as_str(), value))
            })
            .collect()
    }

    fn list(&self, name: &'static str) -> Result<Vec<Reader<'a>>, Corrupt> {
        let Some(value) = self.0.get(name) else {
            return Ok(Vec::new());
        };
        let items = value.as_l().map_err(|_| Corrupt(name))?;
        items
            .iter()
            .map(|item| item.as_m().map(Reader).map_err(|_| Corrupt(name)))
            .collect()
    }

    fn money(&self, name: &'static str) -> Result<Money, Corrupt> {
        self.required(name, |text| Money::from_stored(text).ok())
    }
}

fn lines(reader: &Reader<'_>, name: &'static str) -> Result<Option<OrderLines>, Corrupt> {
    let lines = reader
        .list(name)?
        .iter()
        .map(|line| {
            Ok(Line {
                product_id: line.required("productId", |text| ProductId::from_stored(text).ok())?,
                quantity: line
                    .required("quantity", |text| Quantity::new(text.parse().ok()?).ok())?,
                price: line.money("price")?,
            })
        })
        .collect::<Result<Vec<_>, Corrupt>>()?;
    Ok(OrderLines::new(lines))
}

fn contact(reader: &Reader<'_>) -> Result<Contact, Corrupt> {
    Ok(Contact {
        name: reader.required("name", |text| Text::from_stored(text).ok())?,
        phone: reader.required("phone", |text| Text::from_stored(text).ok())?,
        email: reader.parsed("email", |text| Email::from_stored(text).ok())?,
        shipping_address: reader
            .required("shippingAddress", |text| Text::from_stored(text).ok())?,
    })
}

fn charge(reader: &Reader<'_>) -> Result<Charge, Corrupt> {
    let card = reader.map("card")?.ok_or(Corrupt("card"))?;
    let text = |name| Ok::<_, Corrupt>(card.text(name)?.map(str::to_owned));
    Ok(Charge {
        transaction_id: reader.required_number("transactionId")?,
        created_at: reader.required_time("createdAt")?,
        completed_at: reader.required_time("completedAt")?,
        card: Card {
            first_name: text("firstName")?,
            last_name: text("lastName")?,
            first_digits: text("firstDigits")?,
            last_digits: text("lastDigits")?,
            brand: text("brand")?,
            expiry_month: card.number("expiryMonth")?,
            expiry_year: card.number("expiryYear")?,
        },
    })
}

fn payment(reader: &Reader<'_>) -> Result<Payment, Corrupt> {
    let text = |name| Ok::<_, Corrupt>(reader.text(name)?.map(str::to_owned));
    let declines = reader
        .list("declines")?
        .iter()
        .map(|decline| {
            Ok(Decline {
                attempt: decline.required_number("attempt")?,
                code: decline.required_text("code")?.to_owned(),
                retryable: decline.bool("retryable")?,
            })
        })
        .collect::<Result<_, Corrupt>>()?;
    Ok(Payment {
        state: reader.required("state", |text| text.parse().ok())?,
        attempt: reader.required_number("attempt")?,
        fence: reader.required_number("fence")?,
        claimed_from: reader.parsed("claimedFrom", |text| text.parse().ok())?,
        holder: text("holder")?,
        lease_until: reader.time("leaseUntil")?,
        keys: keys(reader)?,
        reference: text("reference")?,
        opened_at: reader.time("openedAt")?,
        partner: reader.parsed("partner", |text| text.parse::<PartnerName>().ok())?,
        account: reader.parsed("account", PartnerAccount::parse)?,
        method: reader.parsed("method", MethodFingerprint::parse)?,
        unanswered_since: reader.time("unansweredSince")?,
        is_being_replaced: reader.bool("replacing")?,
        waiting_since: reader.time("waitingSince")?,
        // It is only shown, so an unknown value from a newer version counts as absent.
        wait_reason: reader
            .text("waitReason")?
            .and_then(|reason| reason.parse().ok()),
        next_action: reader
            .map("nextAction")?
            .as_ref()
            .map(next_action)
            .transpose()?,
        declines,
        charge: reader.map("charge")?.as_ref().map(charge).transpose()?,
        refund: reader.map("refund")?.as_ref().map(refund).transpose()?,
    })
}

fn next_action(reader: &Reader<'_>) -> Result<NextAction, Corrupt> {
    Ok(NextAction {
        redirect_url: reader.parsed("redirectUrl", |text| text.parse().ok())?,
        client_secret: reader.parsed("clientSecret", ClientSecret::parse)?,
    })
}

fn keys(reader: &Reader<'_>) -> Result<BTreeMap<String, u32>, Corrupt> {
    let attempt = |(key, value): (&String, &Value)| {
        let attempt = value.as_n().ok().and_then(|text| text.parse().ok());
        attempt.map(|attempt| (key.clone(), attempt))
    };
    let Some(keys) = reader.map("keys")? else {
        return Ok(BTreeMap::new());
    };
    keys.0
        .iter()
        .map(attempt)
        .collect::<Option<_>>()
        .ok_or(Corrupt("keys"))
}

fn refund(reader: &Reader<'_>) -> Result<RefundNews, Corrupt> {
    let code = reader.text("code")?.unwrap_or_default();
    Ok(RefundNews {
        status: reader.required("state", |name| RefundStatus::from_name(name, code))?,
        at: reader.required_time("at")?,
        kept: reader.parsed("kept", |text| Money::from_stored(text).ok())?,
    })
}

fn one_refund(name: &str, reader: &Reader<'_>) -> Result<Refund, Corrupt> {
    let code = reader.text("code")?.unwrap_or_default();
    let items = reader.list("items")?.into_iter().map(|item| {
        Ok(RefundedItem {
            product_id: item.required("productId", |text| ProductId::from_stored(text).ok())?,
            quantity: item.required("quantity", |text| Quantity::new(text.parse().ok()?).ok())?,
        })
    });
    Ok(Refund {
        name: RefundName::parse(name),
        amount: reader.money("amount")?,
        state: reader.required("state", |name| RefundState::from_name(name, code))?,
        items: items.collect::<Result<_, Corrupt>>()?,
        unshipped: reader.bool("unshipped")?,
        closes: reader.bool("closes")?,
        reason: reader.parsed("reason", |text| Text::parse_lines(text).ok())?,
        at: reader.required_time("at")?,
        told: reader.number("told")?,
        request_hash: reader.text("requestHash")?.map(str::to_owned),
        key: reader.number("key")?.unwrap_or_default(),
    })
}

/// Oldest first.
fn refunds(reader: &Reader<'_>) -> Result<Vec<Refund>, Corrupt> {
    let entries = reader.entries("refunds")?.into_iter();
    let refunds = entries.map(|(name, entry)| one_refund(name, &entry));
    let mut refunds: Vec<_> = refunds.collect::<Result<_, Corrupt>>()?;
    refunds.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
    Ok(refunds)
}

/// A dispute of a charge of `total`. Earlier versions stored only whether it was about all of it.
fn dispute(id: Option<&str>, total: Money, reader: &Reader<'_>) -> Result<Dispute, Corrupt> {
    let at = reader.required_time("at")?;
    let amount = match reader.parsed("amount", |text| Money::from_stored(text).ok())? {
        Some(amount) => amount,
        None if reader.bool("takesAll")? => total,
        None => Money::ZERO,
    };
    Ok(Dispute {
        id: id.map(str::to_owned),
        state: reader.required("state", |name| name.parse().ok())?,
        amount,
        at,
        since: reader.time("since")?.unwrap_or(at),
    })
}

/// `disputes` by the partner's IDs, and `dispute`, the single one that earlier versions stored
/// without its ID.
fn disputes(reader: &Reader<'_>) -> Result<Vec<Dispute>, Corrupt> {
    let total = reader.money("total")?;
    let entries = reader.entries("disputes")?.into_iter();
    let named = entries.map(|(id, entry)| dispute(Some(id), total, &entry));
    let nameless = reader.map("dispute")?.into_iter();
    let nameless = nameless.map(|entry| dispute(None, total, &entry));
    let mut disputes: Vec<_> = named.chain(nameless).collect::<Result<_, Corrupt>>()?;
    Dispute::sort(&mut disputes);
    Ok(disputes)
}

fn metadata(reader: &Reader<'_>) -> Result<Metadata, Corrupt> {
    let damaged = || Corrupt("metadata");
    let mut metadata = Metadata::default();
    let Some(stored) = reader.map("metadata")? else {
        return Ok(metadata);
    };
    for (key, value) in stored.0 {
        let text = value
            .as_s()
            .ok()
            .and_then(|text| Text::from_stored(text).ok());
        let inserted = metadata.insert(key, text.ok_or_else(damaged)?);
        inserted.map_err(|_| damaged())?;
    }
    Ok(metadata)
}

fn shipment(reader: &Reader<'_>) -> Result<Shipment, Corrupt> {
    Ok(Shipment {
        tracking_number: reader
            .required("trackingNumber", |text| TrackingNumber::parse(text).ok())?,
        label_url: reader.text("labelUrl")?.map(str::to_owned),
        carrier: reader.required_text("carrier")?.to_owned(),
        name: reader.required("name", |text| Text::from_stored(text).ok())?,
        phone: reader.required("phone", |text| Text::from_stored(text).ok())?,
        shipping_address: reader
            .required("shippingAddress", |text| Text::from_stored(text).ok())?,
    })
}

fn delivery(reader: &Reader<'_>) -> Result<Delivery, Corrupt> {
    Ok(Delivery {
        state: reader.required("state", |name| name.parse().ok())?,
        at: reader.required_time("at")?,
    })
}

fn parcel(reader: &Reader<'_>) -> Result<OpenParcel, Corrupt> {
    Ok(OpenParcel {
        reference: reader.required_text("reference")?.to_owned(),
        carrier: reader.required_text("carrier")?.to_owned(),
        name: reader.required("name", |text| Text::from_stored(text).ok())?,
        phone: reader.required("phone", |text| Text::from_stored(text).ok())?,
        shipping_address: reader
            .required("shippingAddress", |text| Text::from_stored(text).ok())?,
    })
}

fn purchases(reader: &Reader<'_>) -> Result<BTreeMap<String, Timestamp>, Corrupt> {
    let asked = |(name, value): (&String, &Value)| {
        let at = value.as_n().ok().and_then(|text| text.parse().ok());
        at.map(|at| (name.clone(), Timestamp::from_millis(at)))
    };
    let asked: Option<_> = reader.0.iter().map(asked).collect();
    asked.ok_or(Corrupt("purchases"))
}

fn shipping_refusal(reader: &Reader<'_>) -> Result<ShippingRefusal, Corrupt> {
    Ok(ShippingRefusal {
        code: reader.required_text("code")?.to_owned(),
        at: reader.required_time("at")?,
    })
}

/// Parses an order's item, as stored or as the table's stream delivers it.
#[expect(
    clippy::implicit_hasher,
    reason = "the SDK's items have the default hasher"
)]
pub fn order_from_item(item: &HashMap<String, Value>) -> Result<Order, Corrupt> {
    let reader = Reader(item);
    let first = match lines(&reader, "firstLines")? {
        None => None,
        Some(lines) => Some((
            lines,
            Amounts {
                sub_total: reader.money("firstSubTotal")?,
                tax: reader.money("firstTax")?,
                total: reader.money("firstTotal")?,
            },
        )),
    };
    let event = match reader.map("event")? {
        None => None,
        Some(event) => Some(EventMark {
            id: event.required_text("id")?.to_owned(),
            kind: event.required("type", |text| text.parse().ok())?,
        }),
    };
    let records = reader.map("events")?.ok_or(Corrupt("events"))?;
    let mut events = BTreeMap::new();
    for &kind in EventType::ALL {
        if let Some(record) = records.map(kind.as_str())? {
            let record = EventRecord {
                version: record.required_number("version")?,
                at: record.required_time("at")?,
            };
            events.insert(kind, record);
        }
    }
    let due = match reader.parsed("dueStep", DueStep::from_partition)? {
        None => None,
        Some(step) => {
            let at = reader.required_time("dueAt")?;
            Some(Due {
                step,
                at,
                tries: reader.number("dueTries")?.unwrap_or(0),
                by_operator: reader.time("requeuedAt")? == Some(at),
            })
        }
    };
    let mut order = Order {
        id: reader.required("orderId", |text| OrderId::parse(text).ok())?,
        customer: reader.required("customerId", |text| CustomerId::from_stored(text).ok())?,
        reference: reader.parsed("reference", |text| OrderReference::from_stored(text).ok())?,
        metadata: metadata(&reader)?,
        status: reader.required("status", |text| text.parse().ok())?,
        version: reader.required_number("version")?,
        currency: reader.required("currency", |text| text.parse().ok())?,
        lines: lines(&reader, "lines")?.ok_or(Corrupt("lines"))?,
        amounts: Amounts {
            sub_total: reader.money("subTotal")?,
            tax: reader.money("tax")?,
            total: reader.money("total")?,
        },
        first,
        request_hash: reader.text("requestHash")?.map(str::to_owned),
        contact: reader.map("contact")?.as_ref().map(contact).transpose()?,
        checkout: reader.bool("checkout")?,
        payment: reader.map("payment")?.as_ref().map(payment).transpose()?,
        disputes: disputes(&reader)?,
        refunds: refunds(&reader)?,
        refunds_revision: reader.number("refundsRevision")?.unwrap_or_default(),
        parcel: reader.map("parcel")?.as_ref().map(parcel).transpose()?,
        purchases: reader
            .map("purchases")?
            .as_ref()
            .map(purchases)
            .transpose()?,
        shipping_refusal: reader
            .map("shippingRefusal")?
            .as_ref()
            .map(shipping_refusal)
            .transpose()?,
        shipment: reader.map("shipment")?.as_ref().map(shipment).transpose()?,
        delivery: reader.map("delivery")?.as_ref().map(delivery).transpose()?,
        cancel_reason: reader.parsed("cancelReason", |text| Text::from_stored(text).ok())?,
        event,
        events,
        created_at: reader.required_time("createdAt")?,
        due,
        traceparent: reader.text("traceparent")?.map(str::to_owned),
    };
    let closing = order.closing_state();
    for refund in order.refunds.iter_mut().filter(|refund| refund.closes) {
        refund.state = closing.clone();
    }
    Ok(order)
}
