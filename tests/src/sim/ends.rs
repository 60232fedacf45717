//! The external services: queues, partner, carrier, and mailer with books of their own.

use domain::{Email, NextAction, PartnerAccount, PartnerName, Timestamp, number_from_digest};
use email::mail::Mail;
use email::mailer::{Mailer, MailerError, classify};
use messages::queue::{EventQueue, Queue, QueueError};
use messages::{Message, MessageKind, PartnerReference};
use payment::partners::{
    BillingPartner, ChargeRequest, ChargeStatus, Disputed, OpenCharge, PartAnswer, PartRefund,
    PartnerError, RefundStatus, ShownRefund,
};
use platform::aws::{AwsFailure, FailureKind};
use shipment::carriers::{Carrier, CarrierError, Label, Opened, Parcel, Tracked};

use super::World;
use super::world::{Fate, LedgerParcel, Protocol, Taken};
use crate::AsyncApi;

/// SES rejects every address in this domain.
pub(super) const REFUSED_DOMAIN: &str = "@refused.example";

/// All external services as seen from one process, with the abstract partner of this protocol.
#[derive(Clone, Debug)]
pub(super) struct Outside(pub(super) World, pub(super) Protocol);

impl Outside {
    /// For callers that use no partner.
    pub(super) fn of(world: &World) -> Self {
        Self(world.clone(), Protocol::Everybody)
    }
}

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
        AsyncApi::get().assert_allows(queue, &body);
        let mut state = self.0.state();
        let faults = state.faults;
        // Only the message itself backs a partner's hint.
        let is_backed = matches!(message.kind, MessageKind::Event(_));
        if is_backed && state.random.chance(faults.vanish) {
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
            state.enqueue(queue, body.clone(), visible_at);
        }
    }
}

impl EventQueue for Outside {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        let lost = || failure("SendMessageBatch", FailureKind::Unanswered, None);
        let name = format!("send {} to {queue:?}", messages.len());
        let fate = self.0.effect(&name).await;
        let out = self.0.state().queue_out;
        if out.is_some_and(|(which, until)| which == queue && self.0.now() < until) {
            return Err(failure("SendMessageBatch", FailureKind::ServerFault, None).into());
        }
        match fate {
            Fate::RequestLost => {
                let (outside, messages) = (self.clone(), messages.to_vec());
                self.0.lose(&name, move || {
                    for message in &messages {
                        outside.store_message(queue, message);
                    }
                });
                Err(lost().into())
            }
            // Some messages were accepted, others were not.
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
    /// One call to the partner: carried out at once, late, or not at all.
    async fn ask_partner<T: 'static>(
        &self,
        name: &str,
        carry_out: impl FnOnce(&World) -> Result<T, PartnerError> + Send + 'static,
    ) -> Result<T, PartnerError> {
        let fate = self.0.effect(name).await;
        if self.0.now() < self.0.state().partner_out_until {
            return Err(PartnerError::Unavailable("played: an outage".into()));
        }
        match fate {
            Fate::Throttled => Err(PartnerError::Unavailable("played: 429".into())),
            Fate::RequestLost => {
                let world = self.0.clone();
                self.0.lose(name, move || {
                    carry_out(&world).ok();
                });
                Err(PartnerError::Unanswered("played: a time-out".into()))
            }
            Fate::AnswerLost => {
                carry_out(&self.0).ok();
                let what = "played: the answer was lost";
                Err(PartnerError::Unanswered(what.into()))
            }
            Fate::Done => carry_out(&self.0),
        }
    }
}

/// The account at the partner; each has only one.
fn account(protocol: Protocol) -> PartnerAccount {
    PartnerAccount::new(protocol.partner(), "")
}

/// The state of the charge. A charge that is not found proves nothing to another account, and
/// nothing while a confirmation is unanswered: it is then confirmed again, as PayPal's client does.
fn standing(
    world: &World,
    protocol: Protocol,
    charge: &OpenCharge,
) -> Result<ChargeStatus, PartnerError> {
    match world.charge_status(&charge.reference) {
        ChargeStatus::Expired if charge.account.as_ref() != Some(&account(protocol)) => {
            let what = "played: there is no such charge";
            Err(PartnerError::Unavailable(what.into()))
        }
        ChargeStatus::Expired if charge.unanswered_since.is_some() => Ok(ChargeStatus::Unconfirmed),
        status => Ok(status),
    }
}

impl Outside {
    /// Does the same for a charge; a partner knows only its own charges.
    async fn ask_about<T: 'static>(
        &self,
        name: &str,
        charge: &OpenCharge,
        carry_out: impl FnOnce(&World, &OpenCharge) -> Result<T, PartnerError> + Send + 'static,
    ) -> Result<T, PartnerError> {
        let (charge, protocol) = (charge.clone(), self.1);
        self.ask_partner(name, move |world| {
            let mut state = world.state();
            let opener = state.charges.get(&charge.reference);
            if opener.is_some_and(|opener| opener.protocol != protocol) {
                state.misdirected.push(charge.reference.clone());
                let what = "played: there is no such charge";
                return Err(PartnerError::Unavailable(what.into()));
            }
            drop(state);
            carry_out(world, &charge)
        })
        .await
    }
}

impl BillingPartner for Outside {
    async fn open(&self, request: &ChargeRequest) -> Result<String, PartnerError> {
        let (request, protocol) = (request.clone(), self.1);
        let open = move |world: &World| world.open_charge(protocol, &request);
        self.ask_partner("open the charge", open).await
    }

    async fn confirm(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let confirm = |world: &World, charge: &OpenCharge| world.confirm_charge(charge);
        self.ask_about("confirm the charge", charge, confirm).await
    }

    async fn look_up(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let protocol = self.1;
        let look_up = move |world: &World, charge: &OpenCharge| standing(world, protocol, charge);
        self.ask_about("look the charge up", charge, look_up).await
    }

    async fn ask_customer(
        &self,
        charge: &OpenCharge,
    ) -> Result<(ChargeStatus, NextAction), PartnerError> {
        let protocol = self.1;
        let ask = move |world: &World, charge: &OpenCharge| {
            Ok((standing(world, protocol, charge)?, NextAction::default()))
        };
        self.ask_about("ask for the customer's page", charge, ask)
            .await
    }

    async fn refund(&self, charge: &OpenCharge) -> Result<RefundStatus, PartnerError> {
        let refund =
            |world: &World, charge: &OpenCharge| Ok(world.refund_charge(&charge.reference));
        self.ask_about("refund the charge", charge, refund).await
    }

    async fn refund_part(
        &self,
        charge: &OpenCharge,
        part: &PartRefund,
    ) -> Result<PartAnswer, PartnerError> {
        let part = part.clone();
        let refund = move |world: &World, charge: &OpenCharge| {
            let status = world.refund_part(&charge.reference, &part);
            Ok(PartAnswer::Stands(status))
        };
        self.ask_about("refund a part", charge, refund).await
    }

    async fn shown_refunds(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<Vec<ShownRefund>>, PartnerError> {
        let look_up =
            |world: &World, charge: &OpenCharge| Ok(Some(world.shown_refunds(&charge.reference)));
        self.ask_about("list the refunds", charge, look_up).await
    }

    fn name(&self) -> PartnerName {
        self.1.partner()
    }

    fn account(&self) -> PartnerAccount {
        account(self.1)
    }

    async fn refund_status(
        &self,
        charge: &OpenCharge,
    ) -> Result<Option<RefundStatus>, PartnerError> {
        let look_up =
            |world: &World, charge: &OpenCharge| Ok(world.refund_status(&charge.reference));
        self.ask_about("look the refund up", charge, look_up).await
    }

    fn agreement_with(&self) -> Option<PartnerName> {
        match self.1 {
            Protocol::Everybody => None,
            Protocol::Intents | Protocol::Orders => Some(self.1.partner()),
        }
    }

    async fn cancel(&self, charge: &OpenCharge) -> Result<ChargeStatus, PartnerError> {
        let protocol = self.1;
        let cancel = move |world: &World, charge: &OpenCharge| {
            world.cancel_charge(&charge.reference);
            let now = Timestamp::from_millis(world.now());
            match standing(world, protocol, charge)? {
                // A charge that is open is not gone.
                ChargeStatus::Unconfirmed
                    if world.charge_status(&charge.reference) == ChargeStatus::Expired
                        && !charge.confirmation_may_arrive(now) =>
                {
                    Ok(ChargeStatus::Expired)
                }
                status => Ok(status),
            }
        };
        self.ask_about("cancel the charge", charge, cancel).await
    }

    async fn dispute(&self, id: &PartnerReference) -> Result<Option<Disputed>, PartnerError> {
        let id = id.as_str().to_owned();
        let look_up = move |world: &World| Ok(world.dispute(&id));
        self.ask_partner("look the dispute up", look_up).await
    }
}

impl Outside {
    /// One call to the carrier: carried out at once, late, or not at all.
    async fn ask_carrier<T: 'static>(
        &self,
        name: &str,
        carry_out: impl FnOnce(&World) -> T + Send + 'static,
    ) -> Result<T, CarrierError> {
        match self.0.effect(name).await {
            Fate::Throttled => Err(CarrierError::Unavailable("played: 429".into())),
            Fate::RequestLost => {
                let world = self.0.clone();
                self.0.lose(name, move || {
                    carry_out(&world);
                });
                Err(CarrierError::Unanswered("played: a time-out".into()))
            }
            Fate::AnswerLost => {
                carry_out(&self.0);
                let what = "played: the label may exist, the answer was lost";
                Err(CarrierError::Unanswered(what.into()))
            }
            Fate::Done => Ok(carry_out(&self.0)),
        }
    }
}

/// As at EasyPost: registering costs nothing and has no idempotency, and a reference is bought
/// once.
impl Carrier for Outside {
    fn name(&self) -> &'static str {
        "played"
    }

    async fn open(&self, parcel: &Parcel) -> Result<Opened, CarrierError> {
        let parcel = LedgerParcel {
            order: parcel.order.to_string(),
            address: parcel.shipping_address.as_str().to_owned(),
            label: None,
        };
        let register = move |world: &World| {
            let mut state = world.state();
            let reference = format!("parcel_{}", state.parcels.len() + 1);
            state.parcels.insert(reference.clone(), parcel);
            Opened::Registered(reference)
        };
        self.ask_carrier("register the parcel", register).await
    }

    async fn buy(&self, reference: &str) -> Result<Label, CarrierError> {
        let reference = reference.to_owned();
        let buy = move |world: &World| {
            let label = Label {
                tracking_number: number_from_digest(&["played", &reference]).into(),
                url: None,
            };
            let mut state = world.state();
            state.touched = true;
            if let Some(parcel) = state.parcels.get_mut(&reference) {
                parcel.label = Some(label.clone());
            }
            label
        };
        self.ask_carrier("buy the label", buy).await
    }

    async fn look_up(&self, reference: &str) -> Result<Option<Label>, CarrierError> {
        let reference = reference.to_owned();
        let look_up = move |world: &World| {
            let state = world.state();
            let parcel = state.parcels.get(&reference);
            parcel.and_then(|parcel| parcel.label.clone())
        };
        self.ask_carrier("look the parcel up", look_up).await
    }

    async fn track(&self, _reference: &PartnerReference) -> Result<Option<Tracked>, CarrierError> {
        Ok(None)
    }
}

impl Mailer for Outside {
    async fn send(&self, email_id: &str, to: &Email, mail: &Mail) -> Result<String, MailerError> {
        let fate = self.0.effect("send the mail").await;
        // SES rejects every address in the domain.
        if to.as_str().ends_with(REFUSED_DOMAIN) {
            let code = Some("BadRequestException");
            return Err(classify(failure("SendEmail", FailureKind::Refused, code)));
        }
        if self.0.now() < self.0.state().mailer_out_until {
            return Err(classify(failure("SendEmail", FailureKind::NotSent, None)));
        }
        if fate == Fate::Throttled {
            let code = Some("TooManyRequestsException");
            return Err(classify(failure("SendEmail", FailureKind::Throttled, code)));
        }
        let key = Taken {
            id: email_id.to_owned(),
            to: to.as_str().to_owned(),
            subject: mail.subject.clone(),
        };
        if fate == Fate::RequestLost {
            // A connection that was never made proves that the mail was not accepted; a timeout
            // proves nothing.
            let proof = self.0.state().random.chance(500);
            let kind = if proof {
                FailureKind::NotSent
            } else {
                FailureKind::Unanswered
            };
            if !proof {
                let (world, key) = (self.0.clone(), key.clone());
                self.0.lose("send the mail", move || {
                    *world.state().mails.entry(key).or_default() += 1;
                });
            }
            return Err(classify(failure("SendEmail", kind, None)));
        }
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
