//! Test doubles of the queues and the mailer, and of a billing partner with a ledger.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use domain::{Card, Email, Money, NextAction, PartnerAccount, PartnerName, RefundName};
use email::mail::Mail;
use email::mailer::{Mailer, MailerError};
use messages::queue::{EventQueue, Queue, QueueError};
use messages::{Message, PartnerReference};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, RefundStatus, ShownRefund,
};
use platform::aws::{AwsFailure, FailureKind};
use rust_decimal::Decimal;

use crate::asyncapi::AsyncApi;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A failed call of that kind, as an AWS client would report it.
fn aws_failure(operation: &'static str, kind: FailureKind, code: Option<&str>) -> AwsFailure {
    AwsFailure {
        operation,
        kind,
        code: code.map(str::to_owned),
        request_id: None,
    }
}

/// Four queues that keep each message until the test delivers it. The description of the messages
/// must allow each message.
#[derive(Clone, Debug, Default)]
pub struct PlayedQueues {
    messages: Arc<Mutex<Vec<(Queue, Message)>>>,
    down: Arc<Mutex<Vec<Queue>>>,
}

impl PlayedQueues {
    /// Takes all messages.
    #[must_use]
    pub fn take(&self) -> Vec<(Queue, Message)> {
        std::mem::take(&mut lock(&self.messages))
    }

    /// From now on `queues` accept no messages.
    pub fn set_down(&self, queues: &[Queue]) {
        *lock(&self.down) = queues.to_vec();
    }
}

impl EventQueue for PlayedQueues {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        if lock(&self.down).contains(&queue) {
            return Err(aws_failure("SendMessageBatch", FailureKind::ServerFault, None).into());
        }
        // As JSON, like on the real wire.
        for message in messages {
            let json = message.to_json().map_err(|_| QueueError::Encoding)?;
            AsyncApi::get().assert_allows(queue, &json);
            let message = Message::from_json(&json).map_err(|_| QueueError::Encoding)?;
            lock(&self.messages).push((queue, message));
        }
        Ok(())
    }
}

/// A mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// The address.
    pub to: String,
    /// What was sent.
    pub mail: Mail,
}

type PlannedFailure = (FailureKind, Option<&'static str>);

/// A mailer that keeps the mails that it accepts, and fails as scripted.
#[derive(Clone, Debug, Default)]
pub struct PlayedMailer {
    taken: Arc<Mutex<Vec<SentMail>>>,
    failures: Arc<Mutex<VecDeque<PlannedFailure>>>,
}

impl PlayedMailer {
    /// All mails accepted so far.
    #[must_use]
    pub fn taken(&self) -> Vec<SentMail> {
        lock(&self.taken).clone()
    }

    /// The next call fails like this. An unanswered one still accepts the mail.
    pub fn fail_next(&self, kind: FailureKind, code: Option<&'static str>) {
        lock(&self.failures).push_back((kind, code));
    }
}

impl Mailer for PlayedMailer {
    async fn send(&self, _email_id: &str, to: &Email, mail: &Mail) -> Result<String, MailerError> {
        let failure = lock(&self.failures).pop_front();
        if matches!(failure, None | Some((FailureKind::Unanswered, _))) {
            lock(&self.taken).push(SentMail {
                to: to.as_str().to_owned(),
                mail: mail.clone(),
            });
        }
        match failure {
            None => Ok(format!("mail-{}", lock(&self.taken).len())),
            Some((kind, code)) => Err(email::mailer::classify(aws_failure(
                "SendEmail",
                kind,
                code,
            ))),
        }
    }
}

/// The state of a charge at the scripted partner.
#[derive(Clone, Debug)]
struct PlayedCharge {
    amount: Money,
    /// The method that it was opened with: it charges no other.
    method: Option<String>,
    status: ChargeStatus,
}

/// The outcomes of the next confirmations.
type Script = VecDeque<ChargeStatus>;

/// A billing partner with a ledger. Whoever confirms it, a reference is confirmed only once, and
/// only with the payment method that it was opened with, as at Stripe.
#[derive(Clone, Debug, Default)]
pub struct PlayedPartner {
    charges: Arc<Mutex<BTreeMap<String, PlayedCharge>>>,
    opened: Arc<Mutex<HashMap<String, String>>>,
    script: Arc<Mutex<Script>>,
    lost_answers: Arc<Mutex<Vec<&'static str>>>,
    refusals: Arc<Mutex<Vec<&'static str>>>,
    out: Arc<Mutex<bool>>,
    keeps_pending: Arc<Mutex<bool>>,
    refund_script: Arc<Mutex<VecDeque<RefundStatus>>>,
    refunds: Arc<Mutex<BTreeMap<String, RefundStatus>>>,
    parts: Arc<Mutex<Vec<(String, ShownRefund)>>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
    needs: Arc<Mutex<Option<PartnerName>>>,
    charged: Arc<Mutex<Vec<ChargedBy>>>,
}

fn holds(part: &ShownRefund) -> bool {
    !matches!(part.status, RefundStatus::Failed { .. })
}

/// An operation, and the payment method that it named.
type ChargedBy = (&'static str, Option<String>);

fn method_of(request: &ChargeRequest) -> Option<String> {
    let agreement = request.agreement.as_ref()?;
    Some(agreement.payment_method.as_str().to_owned())
}

impl PlayedPartner {
    /// From now on it charges only customers who have an agreement with that partner.
    pub fn needs_agreement(&self, with: PartnerName) {
        *lock(&self.needs) = Some(with);
    }

    /// The payment methods named by all openings and confirmations, in order.
    #[must_use]
    pub fn charged_by(&self) -> Vec<ChargedBy> {
        lock(&self.charged).clone()
    }

    fn charges_by(&self, operation: &'static str, request: &ChargeRequest) {
        lock(&self.charged).push((operation, method_of(request)));
    }

    /// The captured amounts in the ledger.
    #[must_use]
    pub fn captured(&self) -> Vec<Money> {
        let charges = lock(&self.charges);
        let captured = charges
            .values()
            .filter(|each| matches!(each.status, ChargeStatus::Captured(_)));
        captured.map(|charge| charge.amount).collect()
    }

    /// The payment methods of the captures, in no particular order.
    #[must_use]
    pub fn captured_by(&self) -> Vec<String> {
        let charges = lock(&self.charges);
        let captured = charges
            .values()
            .filter(|each| matches!(each.status, ChargeStatus::Captured(_)));
        captured
            .filter_map(|charge| charge.method.clone())
            .collect()
    }

    /// The next confirmations have these outcomes; later ones are captured.
    pub fn script(&self, outcomes: impl IntoIterator<Item = ChargeStatus>) {
        lock(&self.script).extend(outcomes);
    }

    /// The next call of this operation is carried out, but its answer is lost.
    pub fn lose_answer(&self, operation: &'static str) {
        lock(&self.lost_answers).push(operation);
    }

    /// The next call of this operation is throttled and not carried out.
    pub fn refuse(&self, operation: &'static str) {
        lock(&self.refusals).push(operation);
    }

    /// The next refunds, and look-ups of a pending one, have these outcomes; later ones are
    /// refunded.
    pub fn script_refunds(&self, outcomes: impl IntoIterator<Item = RefundStatus>) {
        lock(&self.refund_script).extend(outcomes);
    }

    /// From now on a charge that settles later cannot be cancelled.
    pub fn keep_pending(&self) {
        *lock(&self.keeps_pending) = true;
    }

    /// The references of the refunded charges.
    #[must_use]
    pub fn refunded(&self) -> Vec<String> {
        let refunds = lock(&self.refunds);
        let refunded = refunds.iter();
        refunded
            .filter(|(_, status)| **status == RefundStatus::Refunded)
            .map(|(reference, _)| reference.clone())
            .collect()
    }

    /// The amounts of the partial refunds that are done or pending, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<Money> {
        let parts = lock(&self.parts);
        let holding = parts.iter().filter(|(_, part)| holds(part));
        holding.map(|(_, part)| part.amount).collect()
    }

    /// The bank returns every partial refund, days later.
    pub fn fail_parts(&self, code: &str) {
        for (_, part) in lock(&self.parts).iter_mut() {
            let code = code.to_owned();
            part.status = RefundStatus::Failed { code };
        }
    }

    /// A person makes a partial refund in the partner's dashboard.
    pub fn refund_by_hand(&self, amount: Money) {
        let references: Vec<String> = lock(&self.charges).keys().cloned().collect();
        let mut parts = lock(&self.parts);
        for reference in references {
            let name = RefundName::Partners(format!("hand_{}", parts.len() + 1));
            let status = RefundStatus::Refunded;
            let part = ShownRefund {
                name,
                amount,
                status,
            };
            parts.push((reference, part));
        }
    }

    /// The amount of a charge that can still be refunded in parts.
    fn left(&self, reference: &str) -> Decimal {
        let charges = lock(&self.charges);
        let captured = charges
            .get(reference)
            .filter(|each| matches!(each.status, ChargeStatus::Captured(_)));
        let captured = captured.map(|charge| charge.amount.decimal());
        if self.refund_of(reference) == Some(RefundStatus::Refunded) {
            return Decimal::ZERO;
        }
        let parts = lock(&self.parts);
        let own = parts.iter();
        let own = own.filter(|(each, part)| each == reference && holds(part));
        let given: Decimal = own.map(|(_, part)| part.amount.decimal()).sum();
        captured.unwrap_or_default() - given
    }

    fn refund_of(&self, reference: &str) -> Option<RefundStatus> {
        lock(&self.refunds).get(reference).cloned()
    }

    /// Updates a refund as scripted.
    fn move_refund(&self, reference: &str) -> RefundStatus {
        let planned = lock(&self.refund_script).pop_front();
        let status = planned.unwrap_or(RefundStatus::Refunded);
        lock(&self.refunds).insert(reference.to_owned(), status.clone());
        status
    }

    /// From now on the partner carries out nothing, or works again.
    pub fn set_out(&self, out: bool) {
        *lock(&self.out) = out;
    }

    fn check_refused(&self, operation: &'static str) -> Result<(), PartnerError> {
        if *lock(&self.out) {
            return Err(PartnerError::Unavailable("played: an outage".into()));
        }
        let mut refusals = lock(&self.refusals);
        match refusals.iter().position(|each| *each == operation) {
            None => Ok(()),
            Some(index) => {
                refusals.remove(index);
                Err(PartnerError::Unavailable("played: 429".into()))
            }
        }
    }

    /// Every call, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        lock(&self.calls).clone()
    }

    /// Sets the state of every charge, as the partner's own staff can.
    pub fn set_all(&self, status: &ChargeStatus) {
        for charge in lock(&self.charges).values_mut() {
            charge.status = status.clone();
        }
    }

    fn answer<T>(&self, operation: &'static str, value: T) -> Result<T, PartnerError> {
        lock(&self.calls).push(operation);
        let mut lost = lock(&self.lost_answers);
        if let Some(index) = lost.iter().position(|each| *each == operation) {
            lost.remove(index);
            return Err(PartnerError::Unanswered("played".into()));
        }
        Ok(value)
    }

    fn status(&self, reference: &str) -> Result<ChargeStatus, PartnerError> {
        lock(&self.charges)
            .get(reference)
            .map(|charge| charge.status.clone())
            .ok_or_else(|| PartnerError::Unavailable("no such charge".into()))
    }
}

impl BillingPartner for PlayedPartner {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        self.check_refused("open")?;
        self.charges_by("open", request);
        let method = method_of(request);
        let (attempt, replaces) = (request.attempt, &request.replaces);
        let name = format!("{}/{attempt}/{method:?}/{replaces:?}", request.invoice);
        let mut opened = lock(&self.opened);
        let next = format!("charge_{}", opened.len() + 1);
        let reference = opened.entry(name).or_insert(next).clone();
        lock(&self.charges)
            .entry(reference.clone())
            .or_insert(PlayedCharge {
                amount: request.amount,
                method,
                status: ChargeStatus::Unconfirmed,
            });
        self.answer("open", reference)
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.check_refused("confirm")?;
        let opened_with = lock(&self.charges)
            .get(&charge.reference)
            .and_then(|entry| entry.method.clone());
        if opened_with != method_of(&charge.request) {
            return Err(PartnerError::OtherMethod);
        }
        self.charges_by("confirm", &charge.request);
        let mut status = self.status(&charge.reference)?;
        if status == ChargeStatus::Unconfirmed {
            status = lock(&self.script).pop_front().unwrap_or_else(|| {
                ChargeStatus::Captured(Card {
                    brand: Some("visa".to_owned()),
                    last_digits: Some("4242".to_owned()),
                    ..Card::default()
                })
            });
            if let Some(charge) = lock(&self.charges).get_mut(&charge.reference) {
                charge.status = status.clone();
            }
        }
        self.answer("confirm", status)
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.check_refused("look_up")?;
        self.answer("look_up", self.status(&charge.reference)?)
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        Ok((self.status(&charge.reference)?, NextAction::default()))
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        self.check_refused("refund")?;
        let status = match self.refund_of(&charge.reference) {
            Some(RefundStatus::Refunded) => RefundStatus::Refunded,
            _ => self.move_refund(&charge.reference),
        };
        self.answer("refund", status)
    }

    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        self.check_refused("refund_part")?;
        let name = RefundName::Ours(part.id);
        let left = self.left(&charge.reference);
        let is_own = |(reference, each): &(String, ShownRefund)| {
            *reference == charge.reference && each.name == name
        };
        let place = lock(&self.parts).iter().position(is_own);
        let standing = place.map(|place| lock(&self.parts)[place].1.status.clone());
        let status = match standing {
            Some(status) if status != RefundStatus::Pending => status,
            None if part.amount.decimal() > left => RefundStatus::Failed {
                code: "more_than_is_left".to_owned(),
            },
            None | Some(_) => {
                let planned = lock(&self.refund_script).pop_front();
                planned.unwrap_or(RefundStatus::Refunded)
            }
        };
        let shown = ShownRefund {
            name,
            amount: part.amount,
            status: status.clone(),
        };
        let mut parts = lock(&self.parts);
        match place {
            Some(place) => parts[place].1 = shown,
            None => parts.push((charge.reference.clone(), shown)),
        }
        drop(parts);
        self.answer("refund_part", PartAnswer::Stands(status))
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        self.check_refused("shown_refunds")?;
        let left = Money::new(self.left(&charge.reference)).unwrap_or(Money::ZERO);
        let parts = lock(&self.parts).clone();
        let own = parts
            .into_iter()
            .filter(|(each, _)| *each == charge.reference);
        let mut shown: Vec<ShownRefund> = own.map(|(_, part)| part).collect();
        if let Some(status) = self.refund_of(&charge.reference) {
            let given: Decimal = shown
                .iter()
                .filter(|part| holds(part))
                .map(|part| part.amount.decimal())
                .sum();
            let rest = Money::new(charge.request.amount.decimal() - given);
            shown.push(ShownRefund {
                name: RefundName::Partners(format!("rest_of_{}", charge.reference)),
                amount: rest.unwrap_or(left),
                status,
            });
        }
        self.answer("shown_refunds", Some(shown))
    }

    fn name(&self) -> PartnerName {
        self.agreement_with().unwrap_or(PartnerName::Sandbox)
    }

    fn account(&self) -> PartnerAccount {
        PartnerAccount::new(self.name(), "")
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        self.check_refused("refund_status")?;
        let status = match self.refund_of(&charge.reference) {
            // It settles as scripted while it is looked up.
            Some(RefundStatus::Pending) => Some(self.move_refund(&charge.reference)),
            standing => standing,
        };
        self.answer("refund_status", status)
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        *lock(&self.needs)
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        self.check_refused("cancel")?;
        if let Some(charge) = lock(&self.charges).get_mut(&charge.reference)
            && !matches!(charge.status, ChargeStatus::Captured(_))
            && !(charge.status == ChargeStatus::Pending && *lock(&self.keeps_pending))
        {
            charge.status = ChargeStatus::Cancelled;
        }
        self.answer("cancel", self.status(&charge.reference)?)
    }

    async fn dispute(&self, _id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        Ok(None)
    }
}
