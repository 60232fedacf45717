//! Refunds a part of what was paid, or what is left of it, also after the shipment.
//!
//! `POST /api/order/refund.json`, continued on `RefundRequested`; event `PaymentRefunded`.
//!
//! The order stores the refund before it is requested from the partner, under a name derived from
//! the idempotency key. The partner stores that name with the refund. After a crash or a lost
//! answer, the next worker searches for the name first, so the refund is made once. If the shipment
//! has not begun and nothing is left after the refund, the order is cancelled.

use domain::{
    Currency, CustomerId, Money, Order, OrderId, Refund, RefundId, RefundName, RefundState,
    RefundStatus, RefundedItem, Status, Text, Timestamp, Unit,
};
use platform::telemetry;
use serde::Serialize;
use serde_json::{Number, Value};
use service::claims::{claim_key, own_order};
use service::error::{Dependency, Difference, Error, Missing, Outcome};
use service::http::{
    Answer, Call, Effect, Named, Report, as_id, as_money, as_own_id, read_refunded_items,
};
use store::{BodyHash, Settlement, StoreError, TRIES};

use super::partners::{BillingPartner, PartAnswer, PartRefund};
use super::request::as_reason;
use super::{Payments, partner_failed};

/// The amount to refund.
enum Extent {
    Amount(Money),
    Items(Vec<RefundedItem>),
    Rest,
}

/// `{customerId, orderId, amount? | items?, reason?}`
struct RefundRequest {
    customer: CustomerId,
    order: Named<OrderId>,
    extent: Extent,
    reason: Option<Text>,
}

impl RefundRequest {
    fn read(body: &Value, unit: Unit) -> Result<Self, Error> {
        let report = Report::default();
        let request = report.body(body).and_then(|fields| {
            let customer = fields.required("customerId", as_id(CustomerId::parse));
            let order = fields.required("orderId", as_own_id(OrderId::parse));
            let amount = fields.optional("amount", as_money(unit, Money::MAX_AMOUNT));
            let items = match fields.value("items") {
                Some(_) => read_refunded_items(&fields).map(Some),
                None => Some(None),
            };
            let reason = fields.optional("reason", as_reason);
            if amount == Some(Some(Money::ZERO)) {
                let detail = "must be more than zero".to_owned();
                report.add(fields.pointer("amount"), detail);
            }
            if matches!((&amount, &items), (Some(Some(_)), Some(Some(_)))) {
                let detail = "must not be combined with amount; send one of them".to_owned();
                report.add(fields.pointer("items"), detail);
            }
            fields.close();
            Some(Self {
                customer: customer?,
                order: order?,
                extent: match (amount?, items?) {
                    (_, Some(items)) => Extent::Items(items),
                    (Some(amount), None) => Extent::Amount(amount),
                    (None, None) => Extent::Rest,
                },
                reason: reason?,
            })
        });
        report.finish(request)
    }
}

/// The customer and the order in a refund's body, read without validating the rest.
fn order_named_by(body: &Value) -> Option<(CustomerId, OrderId)> {
    let text = |name| body.get(name)?.as_str();
    let customer = CustomerId::parse(text("customerId")?).ok()?;
    Some((customer, OrderId::parse(text("orderId")?).ok()?))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefundBody {
    order_id: String,
    refund_id: String,
    amount: Number,
    /// The refunded amount of the payment, including this refund.
    refunded_amount: Number,
    status: &'static str,
}

impl<P: BillingPartner> Payments<P> {
    pub(super) async fn answer_refund(&self, call: &Call) -> Result<Answer, Error> {
        let Some(key) = &call.key else {
            return Err(Error::KeyRequired);
        };
        let request = self.read_refund(call).await?;
        call.caller.check(&request.customer, Missing::Order)?;
        claim_key(&self.store, call, "refund", self.runtime.now()).await?;
        let id = request.order.or_missing(Missing::Order)?;
        let name = RefundId::from_key(call.caller.id(), &id, key.as_str());
        let order = self
            .keep_refund(&id, name, &request, &call.body_hash()?)
            .await?;
        let is_done = |refund: &Refund| refund.told.is_some() || order.status == Status::Cancelled;
        let kept = order.refund(&RefundName::Ours(name));
        let effect = if kept.is_some_and(is_done) {
            Effect::Before
        } else {
            Effect::Now
        };
        // From here on the order stores the refund, and the sweep continues it.
        let made = self.make_refund(order, name).await;
        let (order, refund) = made.map_err(Error::after_an_effect)?;
        let body = RefundBody {
            order_id: id.to_string(),
            refund_id: name.to_string(),
            amount: refund.amount.to_amount_json(),
            refunded_amount: order.refunded_up_to(&refund).to_amount_json(),
            status: RefundStatus::Refunded.as_str(),
        };
        let answer = Answer::created(&body, format!("/api/order/{id}"))?;
        Ok(answer.with_effect(effect))
    }

    /// Reads the amount in the order's currency, because the shop's may have changed since.
    async fn read_refund(&self, call: &Call) -> Result<RefundRequest, Error> {
        let body = call.body()?;
        let order = match order_named_by(body) {
            Some((customer, id)) => own_order(&self.store, call, &customer, &id).await?,
            None => None,
        };
        let currency = order.map(|order| order.currency);
        RefundRequest::read(body, self.unit_of(currency))
    }

    /// The unit of amounts in that currency, or in the shop's if none is known.
    fn unit_of(&self, currency: Option<Currency>) -> Unit {
        let unit = self.shop.unit();
        match currency {
            Some(currency) if currency != unit.currency() => currency.into(),
            Some(_) | None => unit,
        }
    }

    /// Stores the refund with that name on the order, and returns the order. The name comes from the
    /// request's key, which stays bound to its body after the key's own row has expired.
    async fn keep_refund(
        &self,
        id: &OrderId,
        name: RefundId,
        request: &RefundRequest,
        body: &BodyHash,
    ) -> Result<Order, Error> {
        for _ in 0..TRIES {
            let order = self.store.order(id).await?;
            let order = order
                .filter(|order| order.customer == request.customer)
                .ok_or(Error::NotFound(Missing::Order))?;
            if let Some(kept) = order.refund(&RefundName::Ours(name)) {
                let hash = kept.request_hash.as_deref();
                return if hash.is_none_or(|hash| body.is(hash)) {
                    Ok(order)
                } else {
                    Err(Error::KeyReused)
                };
            }
            let refund = Refund {
                request_hash: Some(body.as_str().to_owned()),
                ..self.decide(&order, name, request)?
            };
            let now = self.runtime.now();
            let kept = if refund.closes {
                let reason = request.reason.as_ref();
                let closing = Some(refund);
                self.store
                    .request_refund(&order, closing, reason, now)
                    .await?
            } else {
                self.store.request_part(&order, refund, now).await?
            };
            match kept {
                Settlement::Written(order) if order.refund(&RefundName::Ours(name)).is_some() => {
                    tracing::info!(order_id = %id, refund_id = %name, "refund requested");
                    return Ok(*order);
                }
                Settlement::Written(_) | Settlement::Overtaken(_) => {}
                Settlement::NotFound => return Err(Error::NotFound(Missing::Order)),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The refund of an order, as it was read, or why it is refused.
    fn decide(
        &self,
        order: &Order,
        name: RefundId,
        request: &RefundRequest,
    ) -> Result<Refund, Error> {
        match order.status {
            Status::Paid | Status::Shipped => {}
            Status::Pending | Status::Invoiced => {
                return Err(Error::WrongState {
                    status: order.status,
                    detail: "it can be refunded only after it is paid",
                });
            }
            Status::Refunding | Status::Cancelled => {
                return Err(Error::WrongState {
                    status: order.status,
                    detail: "its cancellation refunds all that is left",
                });
            }
        }
        if order.refunds.len() >= Refund::MOST {
            return Err(Error::TooManyRefunds);
        }
        let left = order.refundable_amount();
        let (amount, items) = match &request.extent {
            Extent::Amount(amount) => (*amount, Vec::new()),
            Extent::Items(items) => {
                let unit = self.unit_of(Some(order.currency));
                (paid_for(order, items, unit)?, items.clone())
            }
            Extent::Rest => (left, Vec::new()),
        };
        if amount == Money::ZERO || amount > left {
            return Err(Error::RefundTooLarge { left });
        }
        let unshipped = order.may_be_stopped();
        Ok(Refund {
            name: RefundName::Ours(name),
            amount,
            state: RefundState::Requested,
            items,
            unshipped,
            closes: unshipped && amount == left,
            reason: request.reason.clone(),
            at: self.runtime.now(),
            told: None,
            request_hash: None,
            key: 0,
        })
    }

    /// Requests a stored refund from the partner unless it is done. Returns the order and the
    /// refund afterwards.
    async fn make_refund(&self, order: Order, name: RefundId) -> Result<(Order, Refund), Error> {
        let order_name = RefundName::Ours(name);
        let kept = |order: &Order| {
            let kept = order.refund(&order_name).cloned();
            kept.ok_or_else(|| Error::Internal("a kept refund is gone".into()))
        };
        let refund = kept(&order)?;
        let order = match order.status {
            _ if refund.told.is_some() => order,
            Status::Refunding if refund.closes => self.refund(order).await?,
            Status::Cancelled if refund.closes => self.refund_again(order).await?,
            _ => self.continue_part(order, &refund).await?,
        };
        let refund = kept(&order)?;
        Ok((order, refund))
    }

    /// Continues every partial refund whose outcome is not known. A rejected one stays as it is.
    pub(super) async fn continue_parts(&self, mut order: Order) -> Result<Order, Error> {
        let open: Vec<Refund> = order.open_refunds().cloned().collect();
        for refund in open {
            let id = order.id;
            order = match self.continue_part(order, &refund).await {
                Ok(order) => order,
                // It is rejected or in progress: the others can continue.
                Err(Error::RefundRejected { .. } | Error::RefundPending) => {
                    self.reread(&id).await?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(order)
    }

    pub(super) async fn reread(&self, id: &OrderId) -> Result<Order, Error> {
        let order = self.store.order(id).await?;
        order.ok_or(Error::NotFound(Missing::Order))
    }

    /// Requests a stored partial refund from the partner and records the answer.
    async fn continue_part(&self, order: Order, refund: &Refund) -> Result<Order, Error> {
        let RefundName::Ours(id) = refund.name else {
            return Ok(order);
        };
        if let RefundState::Answered(RefundStatus::Failed { code }) = &refund.state {
            return Err(Error::RefundRejected { code: code.clone() });
        }
        let charge = self.paid_charge(&order)?;
        let part = PartRefund {
            id,
            amount: refund.amount,
            key: refund.key,
        };
        let answer = self.partner.refund_part(&charge, &part).await;
        match answer.map_err(partner_failed)? {
            PartAnswer::Stands(status) => self.record_part(order, refund, status).await,
            PartAnswer::KeyIsSpent => {
                let next = Refund {
                    key: refund.key + 1,
                    ..refund.clone()
                };
                self.store.note_part(&order, next).await?;
                Err(Error::Unavailable {
                    dependency: Dependency::BillingPartner,
                    outcome: Outcome::Unknown,
                    source: "the partner failed to make the refund".into(),
                })
            }
        }
    }

    /// Records the status of a partial refund, whatever else changes on the order.
    pub(super) async fn record_part(
        &self,
        mut order: Order,
        refund: &Refund,
        status: RefundStatus,
    ) -> Result<Order, Error> {
        for _ in 0..TRIES {
            let standing = order.refund(&refund.name).unwrap_or(refund).clone();
            if standing.told.is_some() {
                return Ok(order);
            }
            let now = self.runtime.now();
            let written = match (&status, &standing.state) {
                (RefundStatus::Refunded, _) => self.part_refunded(&order, &standing, now).await?,
                // A later answer is already recorded; this one belongs to an earlier request.
                (RefundStatus::Pending, RefundState::Answered(known)) => {
                    return outcome(order, known);
                }
                (RefundStatus::Pending | RefundStatus::Failed { .. }, _) => {
                    let state = RefundState::Answered(status.clone());
                    if standing.state == state {
                        return outcome(order, &status);
                    }
                    let noted = stands_at(&order, &standing, state);
                    self.store.note_part(&order, noted).await?
                }
            };
            match written {
                // Another worker has cancelled the order, and this refund is still to be recorded.
                Settlement::Written(after)
                    if status == RefundStatus::Refunded
                        && after
                            .refund(&refund.name)
                            .is_none_or(|refund| refund.told.is_none()) =>
                {
                    order = *after;
                }
                Settlement::Written(order) => {
                    self.tell_part(&order, refund, &status, now);
                    return outcome(*order, &status);
                }
                Settlement::Overtaken(standing) => order = *standing,
                Settlement::NotFound => return Err(Error::NotFound(Missing::Order)),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Records that a partial refund is done. If nothing is left then and the shipment has not
    /// begun, the order is cancelled.
    async fn part_refunded(
        &self,
        order: &Order,
        refund: &Refund,
        now: Timestamp,
    ) -> Result<Settlement, Error> {
        let done = |told| Refund {
            state: RefundState::Answered(RefundStatus::Refunded),
            told: Some(told),
            ..refund.clone()
        };
        // A cancelled order records no further events; the sweep sends the mail.
        if order.status == Status::Cancelled {
            let told = order.refunds.iter().filter_map(|refund| refund.told).max();
            let told = told.unwrap_or_default().max(order.version) + 1;
            return Ok(self.store.finish_part_late(order, done(told), now).await?);
        }
        let own = done(order.version + 1);
        let refunds: Vec<Refund> = (order.refunds.iter())
            .map(|each| if each.name == own.name { &own } else { each })
            .cloned()
            .collect();
        if let Some(reason) = order.gone(&refunds) {
            return self.cancel_gone(order, &refunds, reason, now).await;
        }
        Ok(self.store.finish_part(order, refund, now).await?)
    }

    fn tell_part(&self, order: &Order, refund: &Refund, status: &RefundStatus, now: Timestamp) {
        let (order_id, refund_id) = (&order.id, &refund.name);
        match status {
            RefundStatus::Failed { code } => {
                tracing::error!(%order_id, %refund_id, code, "refund rejected");
                telemetry::count(&self.stage, "RefundFailed", 1, now);
            }
            RefundStatus::Refunded | RefundStatus::Pending => {
                let state = status.as_str();
                tracing::info!(%order_id, %refund_id, state, "part of the payment refunded");
            }
        }
    }
}

/// The refund in this state. If it fails before the shipment begins, its items are shipped after
/// all.
pub(super) fn stands_at(order: &Order, refund: &Refund, state: RefundState) -> Refund {
    let has_failed = matches!(state, RefundState::Answered(RefundStatus::Failed { .. }));
    let comes_back = has_failed && order.may_be_stopped();
    Refund {
        state,
        unshipped: refund.unshipped && !comes_back,
        ..refund.clone()
    }
}

/// The order if its refund is done; otherwise an error.
fn outcome(order: Order, status: &RefundStatus) -> Result<Order, Error> {
    match status {
        RefundStatus::Refunded => Ok(order),
        RefundStatus::Pending => Err(Error::RefundPending),
        RefundStatus::Failed { code } => Err(Error::RefundRejected { code: code.clone() }),
    }
}

/// The amount paid for the items, or the number of a product's items that are left.
fn paid_for(order: &Order, items: &[RefundedItem], unit: Unit) -> Result<Money, Error> {
    order.paid_for(items, unit).map_err(|error| {
        let quantity = items.get(error.item).map(|item| item.quantity.get());
        Error::Mismatch(vec![Difference {
            pointer: format!("/items/{}/quantity", error.item),
            expected: error.left.to_string(),
            actual: quantity.unwrap_or_default().to_string(),
        }])
    })
}
