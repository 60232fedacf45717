//! The other side: queues, partner, carrier and mailer with books of their own.

use email::mail::Mail;
use email::mailer::{Mailer, MailerError, classify};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartnerError, RefundStatus,
};
use shared::aws::{AwsFailure, FailureKind};
use shared::domain::{Card, Email, PartnerName, number_from_digest};
use shared::event::{Message, PartnerReference};
use shared::queue::{EventQueue, Queue, QueueError};
use shipment::carriers::{Carrier, CarrierError, Label, Opened, Parcel, Tracked};

use super::World;
use super::world::{Fate, LedgerCharge, LedgerParcel, Queued};

/// Everything outside, seen from one process.
#[derive(Clone, Debug)]
pub(super) struct Outside(pub(super) World);

fn failure(operation: &'static str, kind: FailureKind, code: Option<&str>) -> AwsFailure {
    AwsFailure {
        operation,
        kind,
        code: code.map(str::to_owned),
        request_id: None,
    }
}

impl Outside {
    fn store_message(&self, queue: Queue, message: &Message) {
        let Ok(body) = message.to_json() else { return };
        let mut state = self.0.state();
        let faults = state.faults;
        if state.random.chance(faults.vanish) {
            return;
        }
        let copies = if state.random.chance(faults.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut visible_at = self.0.now();
            if state.random.chance(faults.delay) {
                visible_at += state.random.millis(600_000);
            }
            state.next_message += 1;
            let id = state.next_message;
            let queued = Queued {
                id,
                body: body.clone(),
                visible_at,
                receives: 0,
            };
            state.queues.entry(queue).or_default().push(queued);
        }
    }
}

impl EventQueue for Outside {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        let lost = || failure("SendMessageBatch", FailureKind::Unanswered, None);
        match self
            .0
            .effect(&format!("send {} to {queue:?}", messages.len()))
            .await
        {
            Fate::RequestLost => Err(lost().into()),
            // Some were taken, some were not.
            Fate::Throttled => {
                let taken = messages.len() / 2;
                for message in &messages[..taken] {
                    self.store_message(queue, message);
                }
                Err(QueueError::Partial {
                    refused: messages.len() - taken,
                    sent: messages.len(),
                })
            }
            fate => {
                for message in messages {
                    self.store_message(queue, message);
                }
                if fate == Fate::AnswerLost {
                    Err(lost().into())
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl Outside {
    fn partner_error(&self, fate: Fate) -> Option<PartnerError> {
        let out = self.0.now() < self.0.state().partner_out_until;
        match fate {
            _ if out => Some(PartnerError::Unavailable("played: an outage".into())),
            Fate::Throttled => Some(PartnerError::Unavailable("played: 429".into())),
            Fate::RequestLost => Some(PartnerError::Unanswered("played: a time-out".into())),
            Fate::Done | Fate::AnswerLost => None,
        }
    }

    fn answer<T>(fate: Fate, value: T) -> Result<T, PartnerError> {
        if fate == Fate::AnswerLost {
            return Err(PartnerError::Unanswered(
                "played: the answer was lost".into(),
            ));
        }
        Ok(value)
    }

    /// Where the charge stands now, settled if its time has come.
    fn charge_status(&self, reference: &str) -> ChargeStatus {
        let now = self.0.now();
        let mut state = self.0.state();
        let Some(charge) = state.charges.get_mut(reference) else {
            return ChargeStatus::Cancelled;
        };
        if let Some((at, status)) = charge.settles.clone()
            && now >= at
        {
            charge.captures += u32::from(matches!(status, ChargeStatus::Captured(_)));
            charge.status = status;
            charge.settles = None;
        }
        charge.status.clone()
    }

    /// What becomes of a charge that is confirmed; the customer's id tells, or chance.
    fn decide(&self, charge: &OpenCharge) -> (ChargeStatus, Option<(i64, ChargeStatus)>) {
        let captured = || ChargeStatus::Captured(Card::default());
        let declined = || ChargeStatus::Declined {
            code: "insufficient_funds".to_owned(),
            retryable: true,
        };
        let now = self.0.now();
        let mut state = self.0.state();
        let later = |millis| Some((now + millis, captured()));
        match charge.request.customer.as_str() {
            "declined" => (declined(), None),
            "declined-once" if charge.request.attempt == 1 => (declined(), None),
            "pending" => {
                let wait = state.random.millis(6 * 3_600_000);
                (ChargeStatus::Pending, later(wait))
            }
            "pending-then-declined" => (ChargeStatus::Pending, Some((now + 3_600_000, declined()))),
            "must-act" => (ChargeStatus::ActionRequired, None),
            "acts-later" => {
                let wait = state.random.millis(3_600_000);
                (ChargeStatus::ActionRequired, later(wait))
            }
            _ => (captured(), None),
        }
    }
}

impl BillingPartner for Outside {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        let fate = self.0.effect("open the charge").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        let key = format!("{}/{}", request.invoice, request.attempt);
        let now = self.0.now();
        let mut state = self.0.state();
        let known = state
            .charge_keys
            .get(&key)
            .filter(|(_, since)| now - since < state.partner_memory)
            .map(|(reference, _)| reference.clone());
        let reference = known.unwrap_or_else(|| {
            let reference = format!("charge_{}", state.charges.len() + 1);
            state.charge_keys.insert(key, (reference.clone(), now));
            let charge = LedgerCharge {
                invoice: request.invoice.to_string(),
                amount: request.amount,
                status: ChargeStatus::Unconfirmed,
                settles: None,
                captures: 0,
                refunds: 0,
            };
            state.charges.insert(reference.clone(), charge);
            reference
        });
        drop(state);
        Self::answer(fate, reference)
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let fate = self.0.effect("confirm the charge").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        let mut status = self.charge_status(&charge.reference);
        if status == ChargeStatus::Unconfirmed {
            let (decided, settles) = self.decide(charge);
            let mut state = self.0.state();
            if let Some(entry) = state.charges.get_mut(&charge.reference) {
                entry.captures += u32::from(matches!(decided, ChargeStatus::Captured(_)));
                entry.status = decided.clone();
                entry.settles = settles;
            }
            status = decided;
        }
        Self::answer(fate, status)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let fate = self.0.effect("look the charge up").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        Self::answer(fate, self.charge_status(&charge.reference))
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        let fate = self.0.effect("refund the charge").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        let mut state = self.0.state();
        let entry = state.charges.get_mut(&charge.reference);
        let status = match entry {
            Some(entry) if entry.captures > 0 => {
                // The whole of a charge can be given back once.
                entry.refunds = 1;
                RefundStatus::Refunded
            }
            _ => RefundStatus::Failed {
                code: "nothing_captured".to_owned(),
            },
        };
        drop(state);
        Self::answer(fate, status)
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let fate = self.0.effect("ask how the refund stands").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        let state = self.0.state();
        let entry = state.charges.get(&charge.reference);
        let refunded = entry.is_some_and(|entry| entry.refunds > 0);
        drop(state);
        Self::answer(fate, refunded.then_some(RefundStatus::Refunded))
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        None
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let fate = self.0.effect("cancel the charge").await;
        if let Some(error) = self.partner_error(fate) {
            return Err(error);
        }
        let status = self.charge_status(&charge.reference);
        if !matches!(status, ChargeStatus::Captured(_))
            && let Some(entry) = self.0.state().charges.get_mut(&charge.reference)
        {
            entry.status = ChargeStatus::Cancelled;
            entry.settles = None;
        }
        Self::answer(fate, self.charge_status(&charge.reference))
    }

    async fn dispute(&self, _id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        Ok(None)
    }
}

impl Outside {
    fn carrier_error(fate: Fate) -> Option<CarrierError> {
        match fate {
            Fate::Throttled => Some(CarrierError::Unavailable("played: 429".into())),
            Fate::RequestLost => Some(CarrierError::Unanswered("played: a time-out".into())),
            Fate::Done | Fate::AnswerLost => None,
        }
    }

    fn carrier_answer<T>(fate: Fate, value: T) -> Result<T, CarrierError> {
        if fate == Fate::AnswerLost {
            let what = "played: the label may exist, the answer was lost";
            return Err(CarrierError::Unanswered(what.into()));
        }
        Ok(value)
    }
}

/// As EasyPost does: registering costs nothing and knows no repeat, a reference is bought once.
impl Carrier for Outside {
    fn name(&self) -> &'static str {
        "played"
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        let fate = self.0.effect("register the parcel").await;
        if let Some(error) = Self::carrier_error(fate) {
            return Err(error);
        }
        let mut state = self.0.state();
        let reference = format!("parcel_{}", state.parcels.len() + 1);
        let parcel = LedgerParcel {
            order: parcel.order.to_string(),
            label: None,
        };
        state.parcels.insert(reference.clone(), parcel);
        drop(state);
        Self::carrier_answer(fate, Opened::Registered(reference))
    }

    async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
        let fate = self.0.effect("buy the label").await;
        if let Some(error) = Self::carrier_error(fate) {
            return Err(error);
        }
        let number = number_from_digest(&["played", reference]).into();
        let label = Label {
            tracking_number: number,
            url: None,
        };
        if let Some(parcel) = self.0.state().parcels.get_mut(reference) {
            parcel.label = Some(label.clone());
        }
        Self::carrier_answer(fate, label)
    }

    async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
        let fate = self.0.effect("look the parcel up").await;
        if let Some(error) = Self::carrier_error(fate) {
            return Err(error);
        }
        let state = self.0.state();
        let label = state.parcels.get(reference);
        let label = label.and_then(|parcel| parcel.label.clone());
        drop(state);
        Self::carrier_answer(fate, label)
    }

    async fn track(&self, _reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        Ok(None)
    }
}

impl Mailer for Outside {
    async fn send(&self, to: &Email, mail: &Mail) -> Result<String, MailerError> {
        let fate = self.0.effect("send the mail").await;
        if fate == Fate::Throttled {
            let code = Some("TooManyRequestsException");
            return Err(classify(failure("SendEmail", FailureKind::Throttled, code)));
        }
        if fate == Fate::RequestLost {
            // No connection proves that nothing was taken; a time-out proves nothing.
            let proof = self.0.state().random.chance(500);
            let kind = if proof {
                FailureKind::NotSent
            } else {
                FailureKind::Unanswered
            };
            return Err(classify(failure("SendEmail", kind, None)));
        }
        let key = (to.as_str().to_owned(), mail.subject.clone());
        *self.0.state().mails.entry(key).or_default() += 1;
        if fate == Fate::AnswerLost {
            return Err(classify(failure(
                "SendEmail",
                FailureKind::Unanswered,
                None,
            )));
        }
        Ok("played".to_owned())
    }
}
