"""Plants one fault at a time into a copy of the source, and shows that the tests turn red.

    make planted                 every fault; the first time it compiles everything once more
    make planted FAULT=name      one of them
    python3 tests/planted/plant.py --check     only whether each fault still fits the source

Nothing of this ships: the faults exist only in the copy under .local/planted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / ".local" / "planted"

# As `re.escape` writes them.
CLOSING = (r"\)", r"\]", r"\}")


@dataclass(frozen=True)
class Fault:
    """One mistake somebody could make, and which test target has to notice.

    `right` is found token by token: a formatter may wrap and indent it as it likes.
    """

    name: str
    file: str
    right: str
    wrong: str
    target: str = "suite"
    tests: str = ""


STORE = "shared/store/src"
FAULTS = [
    Fault(
        "a claim takes a lease in its last millisecond",
        f"{STORE}/payments.rs",
        'payment.leaseUntil < :now")',
        'payment.leaseUntil <= :now")',
        tests="boundaries::a_lease",
    ),
    Fault(
        "a key is forgotten in its last second",
        f"{STORE}/idempotency.rs",
        'const FIRST_USE: &str = "attribute_not_exists(keyId) OR expiresAt < :now";',
        'const FIRST_USE: &str = "attribute_not_exists(keyId) OR expiresAt <= :now";',
        tests="boundaries::a_key",
    ),
    Fault(
        "a key's last second is read as over",
        f"{STORE}/idempotency.rs",
        "Ok(expires_at >= now.seconds())",
        "Ok(expires_at > now.seconds())",
        tests="boundaries::a_key",
    ),
    Fault(
        "a payment remembers one key more",
        f"{STORE}/payments.rs",
        "size(payment.#keys) < :most",
        "size(payment.#keys) <= :most",
        tests="boundaries::a_payment",
    ),
    Fault(
        "a confirmation may arrive a millisecond longer",
        "functions/payment/src/partners/mod.rs",
        "now < since.plus(ON_ITS_WAY)",
        "now <= since.plus(ON_ITS_WAY)",
        tests="boundaries::an_unanswered",
    ),
    Fault(
        "an order is swept a moment after its time",
        f"{STORE}/due.rs",
        "dueAt <= :until",
        "dueAt < :until",
        tests="boundaries::an_order_is_swept",
    ),
    Fault(
        "of two news of a dispute at one time the first holds",
        f"{STORE}/news.rs",
        "disputes.#id.#at <= :at",
        "disputes.#id.#at < :at",
        tests="boundaries::of_two_news",
    ),
    Fault(
        "one dispute is shown as a list",
        "functions/order/src/lib.rs",
        "disputes.len() < 2",
        "disputes.len() < 1",
        tests="boundaries::of_two_news",
    ),
    Fault(
        "a failed confirmation is repeated while the first may still run",
        "functions/payment/src/partners/stripe/mod.rs",
        "const CONFIRMATION_IS_OVER: Duration = Duration::from_secs(90);",
        "const CONFIRMATION_IS_OVER: Duration = Duration::from_secs(89);",
        tests="stripe::client::a_failure_that_the_key_keeps",
    ),
    Fault(
        "half a unit of tax is rounded to even",
        "shared/domain/src/money.rs",
        "RoundingStrategy::MidpointAwayFromZero",
        "RoundingStrategy::MidpointNearestEven",
        tests="amounts::half_a_unit",
    ),
    Fault(
        "half a unit of tax is rounded down",
        "shared/domain/src/money.rs",
        "RoundingStrategy::MidpointAwayFromZero",
        "RoundingStrategy::MidpointTowardZero",
        tests="amounts::half_a_unit",
    ),
    Fault(
        "tax is rounded to the currency's minor unit, which the partner does not charge",
        "shared/platform/src/config.rs",
        "self.limits.unit()",
        "self.limits.unit().currency().into()",
        tests="amounts::",
    ),
    Fault(
        "the billing partner's minimum is not charged",
        "shared/domain/src/charge_limits.rs",
        "total < minimum",
        "total <= minimum",
        tests="amounts::a_total_out_of",
    ),
    Fault(
        "the billing partner's maximum is not charged",
        "shared/domain/src/charge_limits.rs",
        "total > maximum",
        "total >= maximum",
        tests="amounts::a_total_out_of",
    ),
    Fault(
        "a total of 0 is below the minimum",
        "shared/domain/src/charge_limits.rs",
        "if total == Money::ZERO { Ok(()) } else if !self.unit.divides(total)",
        "if !self.unit.divides(total)",
        tests="amounts::a_total_out_of",
    ),
    Fault(
        "Stripe is sent thousandths of KWD",
        "shared/domain/src/charge_limits.rs",
        "(3, 2)",
        "(3, 3)",
        tests="amounts::",
    ),
    Fault(
        "PayPal is sent decimals of HUF",
        "shared/domain/src/charge_limits.rs",
        'const PAYPAL_WHOLE: [&str; 3] = ["HUF", "JPY", "TWD"];',
        'const PAYPAL_WHOLE: [&str; 3] = ["XXX", "JPY", "TWD"];',
        tests="amounts::",
    ),
    Fault(
        "a cart whose total is never charged is accepted",
        "functions/cart/src/lib.rs",
        "let faults = [self.recipient_faults(&request), self.total_faults(&request)];",
        "let faults = [self.recipient_faults(&request)];",
        tests="amounts::a_total_out_of",
    ),
    Fault(
        "an invoice whose total is never charged is issued",
        "functions/billing/src/lib.rs",
        "self.check_total(order)?;",
        "",
        tests="amounts::a_total_out_of",
    ),
    Fault(
        "a repeat of an accepted cart is refused once the partner has changed",
        "functions/cart/src/lib.rs",
        "&& !self.is_promised(&call, &request).await? {",
        "{",
        tests="amounts::repeats_are",
    ),
    Fault(
        "a refused cart uses up its key",
        "functions/cart/src/lib.rs",
        "recorded_answer(&self.store, call, ENDPOINT, now)",
        "claim_key(&self.store, call, ENDPOINT, now)",
        tests="amounts::a_refused_total",
    ),
    Fault(
        "an order that costs nothing is charged at the partner",
        "functions/payment/src/lib.rs",
        "if order.costs_nothing() {",
        "if order.costs_nothing() && order.contact.is_none() {",
        tests="free::",
    ),
    Fault(
        "the charge of an order that costs nothing counts as captured",
        f"{STORE}/payments.rs",
        '.set("payment.state", s(ChargeState::Free.as_str()))',
        '.set("payment.state", s(ChargeState::Captured.as_str()))',
        tests="free::",
    ),
    Fault(
        "a charged order is cancelled as if it were free",
        f"{STORE}/cancellations.rs",
        '.when_is("payment.state", s(ChargeState::Free.as_str()))',
        "",
        tests="store::only_a_payment_without_a_charge",
    ),
    Fault(
        "a free order whose parcel is registered is cancelled",
        f"{STORE}/cancellations.rs",
        "unless_shipped(self.transition(order, Command::CancelFree, now))",
        "self.transition(order, Command::CancelFree, now)",
        tests="store::only_a_payment_without_a_charge",
    ),
    Fault(
        "the mails of a free order speak of a payment",
        "functions/email/src/lib.rs",
        "free: data.total.as_ref().is_some_and(is_zero),",
        "free: false,",
        tests="free::",
    ),
    Fault(
        "a customer sets its own price",
        "shared/service/src/http/route.rs",
        "            Self::Cart | Self::Invoice | Self::Shipping | Self::Email | Self::Approval => {\n                Callers::Backend",
        "            Self::Cart | Self::Invoice | Self::Shipping | Self::Email | Self::Approval => {\n                Callers::Customers",
        tests="callers::",
    ),
    Fault(
        "a scope that only begins like the back end's counts",
        "shared/service/src/http/caller.rs",
        "words.split(' ').any(|word| word == scope.as_str())",
        "words.split(' ').any(|word| word.starts_with(scope.as_str()))",
        tests="callers::the_backend_scope",
    ),
    Fault(
        "a list of scopes is read like a text",
        "shared/service/src/http/caller.rs",
        "let words = list(value).unwrap_or(value);",
        "let words = value;",
        tests="callers::",
    ),
    Fault(
        "scopes in scp are not seen",
        "shared/service/src/http/caller.rs",
        'let claims = ["scope", "scp"].into_iter();',
        'let claims = ["scope"].into_iter();',
        tests="callers::",
    ),
    Fault(
        "an ID token is taken for an access token",
        "shared/service/src/http/caller.rs",
        'is("token_use", &["id"])',
        'is("token_use", &["identity"])',
        tests="callers::tokens_in_the_shapes",
    ),
    Fault(
        "a list of customers is one customer",
        "shared/service/src/http/caller.rs",
        "if is_object || list(value).is_some() {",
        "if is_object {",
        tests="callers::a_token_that_names_no_customer",
    ),
    Fault(
        "a function answers another one's route",
        "shared/service/src/lambda/mod.rs",
        "let route = Route::from_request(request).filter(|route| F::ROUTES.contains(route));",
        "let route = Route::from_request(request);",
        tests="callers::a_function_answers",
    ),
    Fault(
        "authentication is off wherever a variable says so",
        "shared/platform/src/config.rs",
        'Some("none") if aws_is_local(environment)? => Ok(Self::None),',
        'Some("none") if aws_is_local(environment).is_ok() => Ok(Self::None),',
        tests="callers::the_switches",
    ),
    Fault(
        "plain http goes anywhere",
        "shared/platform/src/endpoint.rs",
        'Some(("http", rest)) if rest == authority.as_str() && is_loopback => {}',
        'Some(("http", rest)) if rest == authority.as_str() => {}',
        tests="callers::the_switches",
    ),
    Fault(
        "a single call that meets a transaction is not tried again",
        "shared/platform/src/aws/answers.rs",
        '        "TransactionConflict",\n        "TransactionInProgress",\n',
        '        "TransactionConflicts",\n        "TransactionInProgress",\n',
        tests="unkind::each_refusal_of_each_call_of_carts",
    ),
    Fault(
        "what is no answer of AWS is taken for a refusal",
        "shared/platform/src/aws/answers.rs",
        "        None => Verdict::Unreadable,\n",
        "        None => Verdict::Refused,\n",
        tests="unkind::each_refusal_of_each_call_of_carts",
    ),
    Fault(
        "an answer that was changed on its way counts",
        "shared/platform/src/aws/answers.rs",
        "if crc32fast::hash(body) != checksum =>",
        "if crc32fast::hash(body) == 0 && checksum == 1 =>",
        tests="unkind::a_changed_answer",
    ),
    Fault(
        "an answer of any length is read",
        "shared/platform/src/aws/answers.rs",
        "SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER))",
        "SdkBody::from_body_1_x(Limited::new(body, usize::MAX))",
        tests="unkind::an_answer_that_is_no_answer",
    ),
    Fault(
        "keys that DynamoDB left unread count as absent",
        f"{STORE}/orders.rs",
        "wanted = output.unprocessed_keys.unwrap_or_default();",
        "let _ = output.unprocessed_keys;",
        tests="unkind::each_refusal_of_each_call_of_carts",
    ),
    Fault(
        "messages that SQS did not take count as sent",
        "shared/messages/src/queue/sqs.rs",
        "            if failed.is_empty() {\n",
        "            if failed.len() < entries.len() + 1 {\n",
        tests="unkind::each_refusal_of_each_call_of_shipping",
    ),
    Fault(
        "what AWS refuses is a fault of the service",
        "shared/service/src/error.rs",
        "            StoreError::Aws(failure) => Self::Unavailable {\n",
        '            StoreError::Aws(failure) if failure.code.as_deref() == Some("AccessDeniedException") => {\n'
        "                Self::Internal(error.into())\n"
        "            }\n"
        "            StoreError::Aws(failure) => Self::Unavailable {\n",
        tests="unkind::each_refusal_of_each_call_of_carts",
    ),
    Fault(
        "tries go on into the last moments of an invocation",
        "shared/platform/src/aws/tries.rs",
        "let limit = self.most.min(left.saturating_sub(RESERVE));",
        "let limit = self.most.min(left * 10 + RESERVE);",
        tests="unkind::a_database_that_is_silent",
    ),
    Fault(
        "a transaction that was throttled is taken for refused",
        "shared/platform/src/aws/answers.rs",
        "codes.peek().is_some() && codes.all(is_busy)",
        'codes.peek().is_some() && codes.all(|code| code == "TransactionConflict")',
        tests="unkind::each_refusal_of_each_call_of_carts",
    ),
    Fault(
        "an order is written over the one that is there",
        f"{STORE}/orders.rs",
        '.condition_expression("attribute_not_exists(orderId)")',
        '.condition_expression("attribute_not_exists(orderId) OR attribute_exists(orderId)")',
        tests="idempotency::",
    ),
    Fault(
        "a command is carried out on another version than was read",
        f"{STORE}/transition.rs",
        '            .when_is("version", n(order.version))\n',
        "",
        tests="store::",
    ),
    Fault(
        "a cart is updated in another currency than the order's",
        f"{STORE}/orders.rs",
        "            if order.currency != contents.currency {",
        "            if order.currency != contents.currency && order.version == 0 {",
        tests="parameters::",
    ),
    Fault(
        "an invoice is compared in the shop's currency alone",
        "functions/billing/src/request.rs",
        '        compare("/currency".to_owned(), expected, actual);\n',
        "        let _ = (expected, actual);\n",
        tests="parameters::",
    ),
    Fault(
        "a payment's amount is read in the shop's currency alone",
        "functions/payment/src/lib.rs",
        "                    Some(order) => PaymentRequest::read(body, order.currency)?,",
        "                    Some(_) => PaymentRequest::read(body, self.shop.currency)?,",
        tests="parameters::",
    ),
    Fault(
        "a command is carried out in any status",
        f"{STORE}/transition.rs",
        'statuses.join(" OR ")',
        '(statuses.join(" OR ") + " OR attribute_exists(orderId)")',
        tests="store::",
    ),
    Fault(
        "an order that is paid waits for its payment",
        "shared/domain/src/state.rs",
        "Self::CapturePayment => NextStep::Always(DueStep::Shipping),",
        "Self::CapturePayment => NextStep::Always(DueStep::Payment),",
        tests="store::only_paying",
    ),
    Fault(
        "whoever has no address waits for its mails",
        f"{STORE}/transition.rs",
        "NextStep::WithMails(step) => self.mails(order).then_some(step),",
        "NextStep::WithMails(step) => Some(step),",
        tests="store::only_paying",
    ),
    Fault(
        "an approval is written whatever was written since",
        f"{STORE}/agreements.rs",
        'Self::Version(_) => "version = :read",',
        'Self::Version(_) => "(version = :read OR attribute_exists(version))",',
        tests="agreements::",
    ),
    Fault(
        "the first approval is written whatever is there",
        f"{STORE}/agreements.rs",
        'Self::Absent => "attribute_not_exists(customerId)",',
        'Self::Absent => "(attribute_not_exists(customerId) OR attribute_exists(customerId))",',
        tests="agreements::",
    ),
    Fault(
        "a label is written whichever parcel the order has",
        f"{STORE}/parcels.rs",
        'None => shipped.when("attribute_not_exists(parcel)"),',
        "None => shipped,",
        tests="easypost::service::two_carriers",
    ),
    Fault(
        "a refused parcel is given up while its label may be bought",
        "functions/shipment/src/lib.rs",
        "        if open.is_none_or(|open| open > expired.len()) {",
        "        if open.is_none_or(|open| open > expired.len() + 1) {",
        tests="easypost::refusals::while_a_purchase",
    ),
    Fault(
        "an order is paid back while its label may be bought",
        "shared/domain/src/order.rs",
        "self.parcel.is_some() && !(self.shipping_refusal.is_some() && is_answered)",
        "self.parcel.is_some() && !(self.shipping_refusal.is_some() || is_answered)",
        tests="easypost::refusals::while_a_purchase",
    ),
    Fault(
        "a refused label is asked for again",
        f"{STORE}/parcels.rs",
        '            .when("attribute_not_exists(shippingRefusal)");',
        '            .when("attribute_exists(orderId)");',
        tests="easypost::refusals::a_label_that_was_refused_meanwhile",
    ),
    Fault(
        "a refusal counts whatever the shipment shows",
        "functions/shipment/src/carriers/easypost/mod.rs",
        "label_of(&shipment, CarrierError::unanswered)?.ok_or(refusal)",
        "label_of(&shipment, CarrierError::unanswered)?.filter(|_| false).ok_or(refusal)",
        tests="easypost::refusals::a_refusal_counts",
    ),
    Fault(
        "whoever reads an order gets its label",
        "functions/order/src/lib.rs",
        "    let is_backend = call.caller.only().is_none();\n",
        "    let is_backend = call.caller.only().is_none() || order.shipment.is_some();\n",
        tests="easypost::refusals::only_the_back_end",
    ),
    Fault(
        "a cart promises a parcel to any address",
        "functions/cart/src/lib.rs",
        "let faults = [self.recipient_faults(&request), self.total_faults(&request)];",
        "let faults = [self.total_faults(&request)];",
        tests="easypost::addresses::a_cart_refuses",
    ),
    Fault(
        "an invoice promises a parcel to any address",
        "functions/billing/src/lib.rs",
        "        self.check_recipient(call, &request).await?;\n",
        "",
        tests="easypost::addresses::an_invoice_refuses",
    ),
    Fault(
        "a military parcel is not declared to customs",
        "shared/domain/src/postal.rs",
        "                .is_some_and(|state| places::BEHIND_CUSTOMS.contains(&state))",
        "                .is_some_and(|state| state.is_empty())",
        tests="easypost::addresses::a_parcel_to_the_military",
    ),
    Fault(
        "a carrier asks about another carrier's parcel",
        "functions/shipment/src/lib.rs",
        "if parcel.carrier != self.carrier.name() {",
        "if parcel.carrier.is_empty() {",
        tests="easypost::service::two_carriers",
    ),
    Fault(
        "a claim does not look at the lease",
        f"{STORE}/payments.rs",
        "OR payment.leaseUntil < :now",
        "OR payment.leaseUntil < :now OR :now = :now",
        tests="errors::a_claim",
    ),
    Fault(
        "a write does not look at the fence",
        f"{STORE}/payments.rs",
        'self.when_is("payment.fence", n(fence.0))',
        'self.when("payment.fence >= :least").value(":least", n(fence.0.min(0)))',
        tests="payments::",
    ),
    Fault(
        "a mail's row is claimed by everybody",
        f"{STORE}/emails.rs",
        '"attribute_not_exists(emailId) OR #state = :queued OR #state = :failed"',
        '"attribute_not_exists(emailId) OR #state = :queued OR #state = :failed OR attribute_exists(emailId)"',
        tests="idempotency::a_keyed_mail",
    ),
    Fault(
        "whoever asks for an order's mail first decides its address",
        "shared/messages/src/message.rs",
        "if names_another { self.id.clone() } else { own }",
        "if names_another && self.mail.is_none() { self.id.clone() } else { own }",
        tests="mails::an_address_that_is_refused",
    ),
    Fault(
        "the case of a domain makes another address",
        "shared/domain/src/text.rs",
        'format!("{local}@{}", domain.to_ascii_lowercase())',
        'format!("{local}@{domain}")',
        tests="mails::an_address_gets_one_mail",
    ),
    Fault(
        "a promised mail has nothing but its message",
        "functions/shipment/src/lib.rs",
        "        let promise = self.store.promise_email(&message, self.runtime.now());\n        if promise.await? == Promise::Kept {",
        "        let promise = async { Ok::<_, Error>(Promise::Kept) };\n        if promise.await? == Promise::Kept {",
        tests="mails::a_mail_that_was_promised",
    ),
    Fault(
        "a mail is promised only while the queue takes it",
        "functions/shipment/src/lib.rs",
        '                tracing::warn!(email_id, %error, "not queued; left to the sweep");',
        '                tracing::warn!(email_id, %error, "not published");\n                return Err(error.into());',
        tests="mails::a_mail_is_promised",
    ),
    Fault(
        "a promise made while the mail is being sent is forgotten",
        f"{STORE}/emails.rs",
        "found.is_final() && found != EmailState::Failed",
        "(found.is_final() || found == EmailState::Sending) && found != EmailState::Failed",
        tests="mails::a_promise_is_kept",
    ),
    Fault(
        "what was kept of a mail outlives it",
        f"{STORE}/emails.rs",
        "        if state.is_final() {\n            settled = settled.remove(PROMISED);\n        }\n",
        "",
        tests="mails::",
    ),
    Fault(
        "a promised mail that fails is looked at again at once",
        f"{STORE}/emails.rs",
        '.set("dueAt", n(next.millis()))',
        '.set("dueAt", n(due.at.millis().max(0 * next.millis())))',
        tests="mails::promised_mails_that_fail",
    ),
    Fault(
        "a payment that the bank must confirm says that an agreement is missing",
        f"{STORE}/payments.rs",
        "let waits = WaitReason::ConfirmationRequired.into();",
        "let waits = WaitReason::AgreementMissing.into();",
        tests="waiting::",
    ),
    Fault(
        "each check of an order that waits for its customer is logged as a new wait",
        "functions/payment/src/lib.rs",
        "    if !waits_already(order, reason) {",
        "    if !waits_already(order, reason) || order.version > 0 {",
        tests="waiting::",
    ),
    Fault(
        "an answer does not name its request",
        "shared/service/src/lambda/mod.rs",
        "        request_id.name(&mut response);\n",
        "",
        tests="requests::every_answer",
    ),
    Fault(
        "the lines of a check do not name its order",
        "functions/relay/src/sweep.rs",
        'tracing::error_span!("check", order_id = mark.order())',
        'tracing::error_span!("check", order = mark.order())',
        tests="requests::every_line",
    ),
    Fault(
        "the health route asks for a token",
        "shared/service/src/http/route.rs",
        "Self::Health => Callers::Anyone",
        "Self::Health => Callers::Customers",
        tests="requests::the_health_route",
    ),
    Fault(
        "a carrier that cannot be used is not counted",
        "shared/service/src/error.rs",
        '=> Some("CarrierFailed"),',
        "=> None,",
        tests="metrics::a_carrier",
    ),
    Fault(
        "a mail that an operator resends is given up without a try",
        "functions/relay/src/sweep.rs",
        "&& !due.by_operator\n            && since",
        "&& since",
        tests="resend::",
    ),
    Fault(
        "a promised mail is tried for ever",
        "functions/relay/src/mails.rs",
        "let is_hopeless = mail.kept_at.plus(self.retry) <= now",
        "let is_hopeless = mail.kept_at.plus(self.retry * 999) <= now",
        tests="mails::a_promised_mail_that_ses_does_not_take",
    ),
    Fault(
        "a mail of the chain is tried for ever",
        "functions/relay/src/sweep.rs",
        "since.plus(self.mail_retry) <= self.runtime.now()",
        "since.plus(self.mail_retry * 999) <= self.runtime.now()",
        tests="mails::a_mail_of_the_chain",
    ),
    Fault(
        "a mail is given up that nobody has tried to send",
        "functions/relay/src/sweep.rs",
        "        due.tries >= OVERDUE_TRIES\n            && !due.by_operator",
        "        due.tries < u32::MAX\n            && !due.by_operator",
        tests="mails::a_mail_that_nobody_has_tried",
    ),
    Fault(
        "a mail goes over a connection that was idle",
        "shared/platform/src/aws.rs",
        "HttpClientBuilder::new().pool_max_idle_per_host(0)",
        "HttpClientBuilder::new().pool_max_idle_per_host(90)",
        tests="ses::a_mail_after_an_idle_moment",
    ),
    Fault(
        "a batch's mails are sent all at once",
        "functions/email/src/pace.rs",
        "interval: Duration::from_secs(1) * workers.get() / rate.get(),",
        "interval: Duration::from_nanos(1) * workers.get() / rate.get(),",
        tests="ses::a_burst",
    ),
    Fault(
        "the limit of 24 hours counts as the rate",
        "functions/email/src/mailer.rs",
        'message.contains("Daily message quota exceeded")',
        "message.is_empty()",
        tests="ses::mails_over_the_limit",
    ),
    Fault(
        "an order waits for mails that nobody sends",
        f"{STORE}/lib.rs",
        "self.sends_mails && order.email().is_some()",
        "order.email().is_some()",
        tests="mails::a_shop_without_a_sender",
    ),
    Fault(
        "the relay asks for mails that nobody sends",
        "functions/relay/src/relay.rs",
        "all.filter(|each| sends_mails || each.queue != Queue::Email)",
        "all.filter(|each| sends_mails || each.queue != Queue::Email || true)",
        tests="mails::a_shop_without_a_sender",
    ),
    Fault(
        "a value in a mail becomes a link",
        "functions/email/src/mail.rs",
        "        if parts && rest.peek().is_some() {",
        "        if parts && rest.peek().is_none() {",
        tests="mails::no_value_of_an_order",
    ),
    Fault(
        "an address that bounced for good gets more mails",
        f"{STORE}/emails.rs",
        "            Self::Bounced { is_permanent } => *is_permanent,",
        "            Self::Bounced { is_permanent } => *is_permanent && false,",
        tests="ses::a_bounce_and_a_complaint",
    ),
    Fault(
        "what SES tells before the row is settled is lost",
        f"{STORE}/emails.rs",
        '.when("attribute_exists(emailId)")',
        '.when("attribute_exists(settledAt)")',
        tests="ses::news_of_a_mail",
    ),
    Fault(
        "a key goes with any body",
        f"{STORE}/idempotency.rs",
        'if reader.required_text("bodyHash")? != body_hash {',
        'if reader.required_text("bodyHash")? != body_hash && body_hash.is_empty() {',
        tests="idempotency::a_key_with",
    ),
    Fault(
        "a cart is made without its key's row",
        "functions/cart/src/lib.rs",
        "        if let Some(answer) = claim_key(&self.store, &call, ENDPOINT, now).await? {",
        "        if request.order.is_some() && let Some(answer) = claim_key(&self.store, &call, ENDPOINT, now).await? {",
        tests="keys::a_key_goes_with_one_body",
    ),
    Fault(
        "a key's row is written over when it is used again",
        f"{STORE}/idempotency.rs",
        'const FIRST_USE: &str = "attribute_not_exists(keyId) OR expiresAt < :now";',
        'const FIRST_USE: &str = "attribute_not_exists(keyId) OR attribute_exists(keyId) OR expiresAt < :now";',
        tests="keys::",
    ),
    Fault(
        "an update's answer is recorded over the one that is there",
        f"{STORE}/idempotency.rs",
        "OR (bodyHash = :body AND attribute_not_exists(answer))",
        "OR bodyHash = :body",
        tests="keys::an_answered_update",
    ),
    Fault(
        "the sweep takes away a mark that it did not read",
        f"{STORE}/due.rs",
        '            .when_is("dueAt", n(read.at.millis()))\n',
        "",
        tests="store::a_due_mark",
    ),
    Fault(
        "an order id is not the same for the same key",
        "functions/cart/src/lib.rs",
        "let id = OrderId::from_key(call.caller.id(), &request.customer, key.as_str());\n                (id, Some(call.body_hash()?))",
        "let _ = key;\n                let id = self.runtime.order_id();\n                (id, Some(call.body_hash()?))",
        tests="idempotency::",
    ),
    Fault(
        "a lost answer counts as a decline",
        "functions/payment/src/lib.rs",
        "                self.release(order, fence, ChargeState::Unknown, Confirmation::Unanswered)\n                    .await?;\n                Err(Error::PaymentUnknown)\n            }\n        }\n    }\n\n    /// Releases the claim after a failed",
        '                Ok(ChargeStatus::Declined { code: "timeout".to_owned(), retryable: true })\n            }\n        }\n    }\n\n    /// Releases the claim after a failed',
        tests="payments::",
    ),
    Fault(
        "a charge is confirmed before its reference is stored",
        "functions/payment/src/lib.rs",
        "        match self.store.charge_opened(&order.id, fence, &opened).await? {",
        "        let early = OpenCharge::new(request.clone(), reference.clone(), account.clone(), at);\n"
        "        let _ = self.partner.confirm(&early).await;\n        match self.store.charge_opened(&order.id, fence, &opened).await? {",
        target="faults",
        tests="a_crash_at_any_effect_breaks_nothing_at_a_partner",
    ),
    Fault(
        "a declined attempt is not cancelled before the next",
        "functions/payment/src/lib.rs",
        "        let next = match self.close(order).await? {",
        "        let next = match Closing::Closed {",
        tests="payments::",
    ),
    Fault(
        "a capture that was overtaken is forgotten",
        "functions/payment/src/lib.rs",
        "                Box::pin(self.pay(&standing.id, Trigger::Message)).await",
        "                let _ = &standing;\n                Err(in_progress())",
        tests="sequences::a_capture_overtaken",
    ),
    Fault(
        "the agreement is not compared",
        "functions/payment/src/lib.rs",
        "        if charge.has_other_method() {\n            return self.change_method",
        "        if charge.has_other_method() && order.version == 0 {\n            return self.change_method",
        tests="sequences::a_card_whose_agreement",
    ),
    Fault(
        "the client of Stripe does not compare the agreement",
        "functions/payment/src/partners/stripe/mod.rs",
        "        if charge.has_other_method() {",
        "        if charge.has_other_method() && charge.reference.is_empty() {",
        tests="obligations::a_charge_is_confirmed_by_the_method",
    ),
    Fault(
        "an unanswered capture keeps an order alive for ever",
        "functions/payment/src/partners/paypal/mod.rs",
        "        Ok(order.unwrap_or(if may_arrive {",
        "        Ok(order.unwrap_or(if may_arrive || charge.unanswered_since.is_some() {",
        tests="expiry::an_unanswered_capture",
    ),
    Fault(
        "a charge that was closed for another method counts as declined",
        "functions/payment/src/lib.rs",
        "        if charge.has_other_method() {\n            return self.change_method",
        "        if charge.has_other_method() && status != ChargeStatus::Cancelled {\n            return self.change_method",
        tests="sequences::a_replaced_card_is_charged",
    ),
    Fault(
        "another method is asked while a capture is unanswered",
        "functions/payment/src/partners/mod.rs",
        "since.is_some_and(|since| now < since.plus(ON_ITS_WAY))",
        "since.is_some_and(|since| now < since.plus(ON_ITS_WAY * 0))",
        tests="sequences::while_a_capture",
    ),
    Fault(
        "a key of an attempt is forgotten",
        "functions/payment/src/lib.rs",
        "    let attempt = payment.keys.get(key?)?;",
        "    let last = payment.declines.last()?.attempt;\n    let attempt = payment.keys.get(key?).filter(|attempt| **attempt == last && payment.keys.len() == 1)?;",
        tests="sequences::every_key",
    ),
    Fault(
        "an attempt takes any number of keys",
        f"{STORE}/payments.rs",
        "AND size(payment.#keys) < :most)",
        "AND (size(payment.#keys) < :most OR :most = :most))",
        tests="sequences::a_payment_takes",
    ),
    Fault(
        "a payment that an earlier version left without keys takes none",
        f"{STORE}/payments.rs",
        "            Some(payment) if payment.keys.is_empty() => {",
        "            Some(payment) if payment.keys.is_empty() && payment.attempt == 0 => {",
        tests="sequences::a_payment_that_an_earlier",
    ),
    Fault(
        "a declined charge that is open is not due",
        f"{STORE}/payments.rs",
        "            DeclinedCharge::Open => Some(DueStep::Payment),\n            DeclinedCharge::Dead => self.mail_step(order),",
        "            DeclinedCharge::Open | DeclinedCharge::Dead => self.mail_step(order),",
        tests="sequences::money_captured",
    ),
    Fault(
        "a declined charge that is dead stays due",
        f"{STORE}/payments.rs",
        "(DeclinedEnd::Dead { .. }, Some(step)) => Some(Due::new(step, soon)),",
        "(DeclinedEnd::Dead { .. }, Some(_)) => Some(Due::new(DueStep::Payment, soon)),",
        tests="sequences::a_declined_charge_is_due",
    ),
    Fault(
        "a declined charge is not closed",
        "functions/payment/src/lib.rs",
        "        let declined = match self.partner.cancel(charge).await {",
        "        let declined = match { let _ = charge; Ok::<_, PartnerError>(ChargeStatus::Cancelled) } {",
        tests="sequences::a_charge_that_its_decline",
    ),
    Fault(
        "news of a declined order is not asked about",
        "functions/payment/src/lib.rs",
        "Trigger::Message => self.check_declined(&order, payment).await,",
        "Trigger::Message => Err(declined(payment)),",
        tests="sequences::an_intent_left_open",
    ),
    Fault(
        "what another account does not find has expired",
        "functions/payment/src/partners/paypal/mod.rs",
        "        charge.account.as_ref() == Some(&self.account())\n            && self.runtime.now()",
        "        charge.account.is_some()\n            && self.runtime.now()",
        tests="sequences::a_declined_charge_of_another_account",
    ),
    Fault(
        "an order of PayPal's whose capture is unanswered has expired",
        "functions/payment/src/partners/paypal/mod.rs",
        "            Some(_) => ChargeStatus::Unconfirmed,",
        "            Some(_) => ChargeStatus::Expired,",
        tests="obligations::",
    ),
    Fault(
        "a charge at another partner is asked for here",
        "functions/payment/src/partners/configured.rs",
        "        all.find(|partner| partner.name() == name)",
        "        all.find(|partner| partner.name() == name).or(Some(&self.current))",
        tests="sequences::a_charge_at_paypal",
    ),
    Fault(
        "the client secret reaches a customer's token",
        "functions/payment/src/lib.rs",
        "        Error::ActionRequired(action) if caller.only().is_some() => {",
        "        Error::ActionRequired(action) if caller.only().is_some() && action.is_empty() => {",
        tests="next_action::a_customer_who_must_authenticate",
    ),
    Fault(
        "an order shows the client secret to its customer",
        "functions/order/src/lib.rs",
        "    Some(if caller.only().is_none() {",
        "    Some(if caller.only().is_none() || !action.is_empty() {",
        tests="next_action::a_customer_who_must_authenticate",
    ),
    Fault(
        "the client secret stays with a paid order",
        f"{STORE}/payments.rs",
        '            .remove(["payment.nextAction"]);',
        "            ;",
        tests="next_action::a_customer_who_must_authenticate",
    ),
    Fault(
        "a customer who has revoked is sent to the bank",
        "functions/payment/src/lib.rs",
        "            Permission::Missing => {\n                let waits",
        "            Permission::Missing if order.payment.is_some() => Ok(None),\n            Permission::Missing => {\n                let waits",
        tests="next_action::a_customer_who_has_revoked",
    ),
    Fault(
        "what the payer has approved is captured by the vaulted source",
        "functions/payment/src/partners/paypal/mod.rs",
        "        let body = (!again).then(|| source.body(token));",
        "        let body = Some(source.body(token));",
        tests="next_action::a_payer_who_must_act",
    ),
    Fault(
        "the page that the partner shows is not asked for",
        "functions/payment/src/partners/paypal/wire.rs",
        'let link = link("payer-action").or_else(|| link("approve"));',
        'let link = link("payer_action").or_else(|| link("approve"));',
        tests="next_action::a_payer_who_must_act",
    ),
    Fault(
        "a look-up goes to the configured partner",
        "functions/payment/src/partners/configured.rs",
        "        self.of(charge)?.look_up(charge).await",
        "        self.current.look_up(charge).await",
        tests="partners::an_open_charge",
    ),
    Fault(
        "the reference is stored without its partner",
        f"{STORE}/payments.rs",
        '            .set("payment.partner", s(opened.partner.as_str()))\n',
        "",
        tests="partners::an_open_charge",
    ),
    Fault(
        "a partner of which the account is not known counts as the configured one",
        "shared/domain/src/order.rs",
        "            return account.partner();",
        "            return account.partner().or(Some(configured));",
        tests="partners::a_charge_at_a_partner",
    ),
    Fault(
        "the next charge opens before the former partner's is closed",
        "functions/payment/src/lib.rs",
        "        match self.partner.cancel(charge).await {\n            Ok(ChargeStatus::Cancelled | ChargeStatus::Expired | ChargeStatus::Declined { .. }) => {\n                let charge = self.replace(order, fence, charge).await?;",
        "        match Ok::<_, PartnerError>(ChargeStatus::Cancelled) {\n            Ok(ChargeStatus::Cancelled | ChargeStatus::Expired | ChargeStatus::Declined { .. }) => {\n                let charge = self.replace(order, fence, charge).await?;",
        tests="partners::a_charge_that_waits",
    ),
    Fault(
        "a charge that returns to a partner is opened under its first key",
        "functions/payment/src/lib.rs",
        'request.replaces = Some(digest_hex(&["replaces", &closed.reference])[..16].to_owned());',
        "request.replaces = None;",
        tests="partners::a_change_that_is_rolled_back",
    ),
    Fault(
        "a charge at a former partner never moves",
        "functions/payment/src/lib.rs",
        "        if self.partner.is_former(&charge)\n            &&",
        "        if self.partner.is_former(&charge)\n            && order.payment.is_none()\n            &&",
        tests="partners::a_charge_that_waits",
    ),
    Fault(
        "a dispute is asked for at the configured partner",
        "functions/payment/src/partners/configured.rs",
        "        let partner = self.named(at).ok_or_else(not_configured)?;",
        "        let _ = at;\n        let partner = &self.current;",
        tests="partners::webhooks_of_both",
    ),
    Fault(
        "a declined charge that cannot be cancelled is left behind",
        "functions/payment/src/lib.rs",
        "            Closing::StillOpen => NextCharge::Same,",
        "            Closing::StillOpen => NextCharge::Another,",
        tests="paypal::client::a_worker_that_wakes_late",
    ),
    Fault(
        "an order of PayPal's that is not found is taken for dead at once",
        "functions/payment/src/partners/paypal/mod.rs",
        "self.runtime.now() >= charge.opened_at.plus(ORDER_LIVES)",
        "self.runtime.now() >= charge.opened_at",
        tests="paypal::client::an_order_that_is_not_found",
    ),
    Fault(
        "a message tries a declined payment again",
        "functions/payment/src/lib.rs",
        "Trigger::Message => self.check_declined(&order, payment).await,",
        "Trigger::Message => self.start_next_attempt(&order, payment, None).await,",
        tests="chain::a_declined",
    ),
    Fault(
        "the lease is shorter than a function runs",
        "functions/payment/src/lib.rs",
        "pub const LEASE: Duration = Duration::from_secs(90);",
        "pub const LEASE: Duration = Duration::from_secs(9);",
        target="suite",
        tests="payments::the_lease",
    ),
    Fault(
        "a mail whose fate is unknown is sent again",
        "functions/email/src/mailer.rs",
        "(FailureKind::Unanswered | FailureKind::ServerFault, _) => MailerError::Unknown(failure),",
        "(FailureKind::Unanswered | FailureKind::ServerFault, _) => MailerError::NotTaken(failure),",
        tests="errors::a_mail",
    ),
    Fault(
        "the ledger row is written after the mail",
        "functions/email/src/lib.rs",
        "        let now = self.runtime.now();\n        let order = message.order.as_ref();",
        "        let now = self.runtime.now();\n        let order = message.order.as_ref();\n"
        "        let _ = self.mailer.send(&to, &mail).await;",
        tests="chain::",
    ),
    Fault(
        "the sweep is off",
        "functions/relay/src/handler.rs",
        "    async fn sweep_orders(&self) -> SweepReport {\n",
        "    async fn sweep_orders(&self) -> SweepReport {\n        if !self.stage.is_empty() {\n            return SweepReport::default();\n        }\n",
        tests="chain::with_a_dead_stream",
    ),
    Fault(
        "the relay forgets the mails",
        "functions/relay/src/publish.rs",
        "let mails = together.filter_map(|event| mail_dispatch(order, event));",
        "let mails = together.take(0).filter_map(|event| mail_dispatch(order, event));",
        tests="chain::",
    ),
    Fault(
        "a queue that refuses holds back every record that wants it",
        "functions/relay/src/relay.rs",
        "refused.partition(|each| each.is_due);",
        "refused.partition(|_| false);",
        tests="glue::a_queue_that_refuses",
    ),
    Fault(
        "a message that no mark backs is left to the sweep",
        "functions/relay/src/relay.rs",
        "refused.partition(|each| each.is_due);",
        "refused.partition(|_| true);",
        tests="sweep::a_message_that_no_mark",
    ),
    Fault(
        "a transition leaves its order without a mark",
        f"{STORE}/transition.rs",
        "let step = self.step_after(command, order);",
        "let step = self.step_after(command, order).filter(|_| command.event() != EventType::OrderCancelled);",
        tests="sweep::every_message",
    ),
    Fault(
        "an order that cannot be read keeps its place at the head",
        "functions/relay/src/sweep.rs",
        "                self.store.postpone(mark, at, Some(tries)).await?;",
        "                let _ = (at, tries);",
        tests="sweep::orders_that_cannot",
    ),
    Fault(
        "the sweep takes the first page of a partition only",
        "functions/relay/src/sweep.rs",
        "        page.next.map(|after| Place {",
        "        page.next.filter(|_| false).map(|after| Place {",
        tests="sweep::orders_that_cannot",
    ),
    Fault(
        "the sweep publishes before it has moved the mark, and moves it only if every queue took its message",
        "functions/relay/src/sweep.rs",
        "        if !self.store.set_due(order, Some(next)).await? {",
        "        if let Some((_, error)) = send(&self.queues, &wanted).await.pop() {\n            return Err(error.into());\n        }\n"
        "        if !self.store.set_due(order, Some(next)).await? {",
        tests="sweep::one_queue",
    ),
    Fault(
        "an order whose queue refuses is not counted",
        "functions/relay/src/sweep.rs",
        "failed: u64::from(!refused.is_empty() || unreadable > 0),",
        "failed: u64::from(unreadable > 0),",
        tests="sweep::one_queue",
    ),
    Fault(
        "the sweep runs until it is cut off",
        "functions/relay/src/sweep.rs",
        "    match deadline::remaining() {",
        "    match deadline::remaining().filter(|_| false) {",
        tests="sweep::a_sweep_that_is_stuck",
    ),
    Fault(
        "a sweep that panics tells nothing",
        "functions/relay/src/sweep.rs",
        "AssertUnwindSafe(join_all(lanes)).catch_unwind();",
        "AssertUnwindSafe(async { Ok::<_, service::error::Source>(join_all(lanes).await) });",
        tests="sweep::a_sweep_that_panics",
    ),
    Fault(
        "a part of an event that cannot be read panics",
        "shared/service/src/lambda/gateway.rs",
        "serde_json::from_str(field.get()).map_err(|_| Error::MalformedRequest(part))",
        'Ok(serde_json::from_str(field.get()).unwrap_or_else(|error| panic!("{part:?}: {error}")))',
        tests="events::whatever_a_request",
    ),
    Fault(
        "a message of a batch that has no id is not reported",
        "shared/service/src/lambda/batch.rs",
        ".filter(|(_, disposition)| *disposition == Disposition::Keep)",
        ".filter(|(record, disposition)| *disposition == Disposition::Keep && !record.id.is_empty())",
        tests="events::whatever_a_batch",
    ),
    Fault(
        "a damaged record that has no sequence number is forgotten",
        "functions/relay/src/relay.rs",
        "let failures = failed.into_iter().map(",
        "let failures = failed.into_iter().filter(|index| !sequence_number(records[*index]).is_empty()).map(",
        tests="events::whatever_the_stream",
    ),
    Fault(
        "serde_json's own names are read",
        "shared/platform/src/json.rs",
        "    if let Some(place) = reserved_name(json) {",
        "    if let Some(place) = reserved_name(json).filter(|_| false) {",
        tests="events::serde_jsons_own_names",
    ),
    Fault(
        "a number counts as a card's by its check digit alone",
        "shared/service/src/http/card_numbers.rs",
        "passes_luhn(digits) && is_issued(digits)",
        "passes_luhn(digits) && (is_issued(digits) || digits.len() > 1)",
        tests="errors::numbers_of_other_kinds",
    ),
    Fault(
        "letters before a card number hide it",
        "shared/service/src/http/card_numbers.rs",
        "            Some(digit) => run.push(digit),",
        "            Some(_) if is_in_word && run.digits.is_empty() => {}\n            Some(digit) => run.push(digit),",
        tests="errors::a_card_number",
    ),
    Fault(
        "a declined payment that is due is taken for overdue",
        "functions/relay/src/sweep.rs",
        "Some(ChargeState::ActionRequired | ChargeState::Declined)",
        "Some(ChargeState::ActionRequired)",
        tests="sweep::a_declined_payment",
    ),
    Fault(
        "a bad message is deleted",
        "shared/service/src/lambda/batch.rs",
        "            log_poison(error);\n            return Disposition::Keep;",
        "            log_poison(error);\n            return Disposition::Delete;",
        tests="glue::in_a_batch",
    ),
    Fault(
        "a parcel's reference is written over the one that is there",
        f"{STORE}/parcels.rs",
        '            .when("attribute_not_exists(parcel)")\n            .set("parcel"',
        '            .set("parcel"',
        tests="easypost::",
    ),
    Fault(
        "EasyPost's label is bought while its shipment is registered",
        "functions/shipment/src/carriers/easypost/mod.rs",
        "        if rate.is_some() {\n            return Ok(Opened::Registered(id.as_str().to_owned()));",
        "        if rate.is_some() {\n            let _ = self.buy(&shipment.id).await;\n            return Ok(Opened::Registered(id.as_str().to_owned()));",
        target="faults",
        tests="through_the_client_of_easypost",
    ),
    Fault(
        "an order is cancelled while its charge may still be confirmed",
        "functions/payment/src/cancel.rs",
        "        match self.partner.cancel(&charge).await.map_err(partner_failed)? {",
        "        match { let _ = &charge; ChargeStatus::Cancelled } {",
        tests="cancel::",
    ),
    Fault(
        "an order counts as cancelled before its money went back",
        "functions/payment/src/cancel.rs",
        "            RefundStatus::Pending => return Err(Error::RefundPending),",
        "            RefundStatus::Pending => {}",
        tests="cancel::",
    ),
    Fault(
        "a paid order is not refunded",
        "functions/payment/src/cancel.rs",
        "        let status = self.partner.refund(&charge).await.map_err(partner_failed)?;",
        "        let status = { let _ = &charge; RefundStatus::Refunded };",
        tests="cancel::",
    ),
    Fault(
        "a message makes a refund again that has failed",
        "functions/payment/src/cancel.rs",
        "            Some(status) => status,\n            None => self.partner.refund(&charge)",
        "            Some(status) if status.code().is_none() => status,\n            _ => self.partner.refund(&charge)",
        tests="late::",
    ),
    Fault(
        "news of a refund is for orders alone that wait for it",
        "functions/webhook/src/lib.rs",
        "    order.status == Status::Refunding || order.is_paid_back()",
        "    order.status == Status::Refunding",
        tests="late::",
    ),
    Fault(
        "a refund that fails late is counted whenever somebody tells of it",
        "functions/payment/src/refund_news.rs",
        "noted == Noted::Written && last_word(order).as_ref() != Some(status)",
        "noted == Noted::Written && last_word(order).is_some()",
        tests="late::",
    ),
    Fault(
        "an old answer about a refund replaces a new one",
        f"{STORE}/news.rs",
        "OR payment.refund.#at <= :at",
        "OR payment.refund.#at <= :at OR payment.refund.#at > :at",
        tests="late::",
    ),
    Fault(
        "a failed refund of Stripe's is asked for again under its own key",
        "functions/payment/src/partners/stripe/mod.rs",
        'refunds.next_key(key(&charge.request, "refund"))',
        'key(&charge.request, "refund")',
        tests="late::",
    ),
    Fault(
        "a failed refund of PayPal's is asked for again under its own id",
        "functions/payment/src/partners/paypal/mod.rs",
        'refunds.next_key(format!("refund-{}", capture.id))',
        'format!("refund-{}", capture.id)',
        tests="late::",
    ),
    Fault(
        "a refusal of a refund is taken for PayPal's present word",
        "functions/payment/src/partners/paypal/mod.rs",
        "        if matches!(first, Refunding::Made(_)) {",
        "        if matches!(first, Refunding::Made(_) | Refunding::Refused(_)) {",
        tests="late::",
    ),
    Fault(
        "a word of PayPal's has no meaning",
        "functions/payment/src/partners/paypal/answers.rs",
        "PAYER_COUNTRY_NOT_SUPPORTED PAYMENT_DENIED",
        "PAYER_COUNTRY_NOT_SUPPORTED",
        tests="words::paypal::every_word",
    ),
    Fault(
        "a meaning of Stripe's is of a word that nobody publishes",
        "functions/payment/src/partners/stripe/answers.rs",
        '(Meaning::DeclinedForNow, "try_again_later")',
        '(Meaning::DeclinedForNow, "try_again_later come_back")',
        tests="words::stripe::every_word",
    ),
    Fault(
        "a capture that PayPal refuses in new words is unknown for ever",
        "functions/payment/src/partners/paypal/verdict.rs",
        "        409 => Meaning::InDoubt,\n        _ => Meaning::RefusedUnlessDone,",
        "        _ => Meaning::InDoubt,",
        tests="words::paypal::an_answer",
    ),
    Fault(
        "a refusal of Stripe's that is no error of its API is unknown for ever",
        "functions/payment/src/partners/stripe/verdict.rs",
        "            (400..=499, None) => Self::Refused(code),",
        "",
        tests="words::stripe::an_answer",
    ),
    Fault(
        "a right that Stripe's key lacks is an outage",
        "functions/payment/src/partners/stripe/verdict.rs",
        "            (403, _) => Self::Forbidden(code),",
        "            (403, _) => Self::Busy(code),",
        tests="stripe::client::what_only_the_shop",
    ),
    Fault(
        "a refused confirmation is believed although the money was taken",
        "functions/payment/src/partners/stripe/mod.rs",
        "        let status = self.look_up(charge).await?;\n        if status != ChargeStatus::Unconfirmed {",
        "        let status = ChargeStatus::Unconfirmed;\n        if status != ChargeStatus::Unconfirmed {",
        tests="words::stripe::a_refusal",
    ),
    Fault(
        "a refused capture is believed although the money was taken",
        "functions/payment/src/partners/paypal/mod.rs",
        "            Meaning::RefusedUnlessDone => match self.standing_after(charge).await? {",
        "            Meaning::RefusedUnlessDone => match ChargeStatus::Unconfirmed {",
        tests="words::paypal::a_refusal",
    ),
    Fault(
        "the key of opening a charge keeps a refusal whose cause is mended",
        "functions/payment/src/partners/stripe/mod.rs",
        "            Err(Refused(_, refusal)) if refusal.spends_its_key() => {\n                let key = self.new_key(&key);",
        "            Err(Refused(_, refusal)) if refusal.spends_its_key() => {",
        tests="words::stripe::each_code_of_stripes_has_its_outcome_where_a_charge_is_opened",
    ),
    Fault(
        "the key of confirming a charge keeps a refusal whose cause is mended",
        "functions/payment/src/partners/stripe/mod.rs",
        "        match self.try_confirm(charge, &self.new_key(key)).await? {",
        "        match self.try_confirm(charge, key).await? {",
        tests="words::stripe::each_code_of_stripes_has_its_outcome_where_a_charge_is_confirmed",
    ),
    Fault(
        "the id of a capture keeps a refusal whose cause is mended",
        "functions/payment/src/partners/paypal/mod.rs",
        '        let id = format!("pay-{}-{}", charge.reference, self.fresh());',
        "",
        tests="words::paypal::each_issue_of_paypals_has_its_outcome_where_an_order_is_captured",
    ),
    Fault(
        "what PayPal's own filter declined counts as passing",
        "functions/payment/src/partners/paypal/verdict.rs",
        "let retryable = meaning != Some(Meaning::Declined);",
        "let retryable = meaning != Some(Meaning::NoAgreement);",
        tests="words::paypal::each_status",
    ),
    Fault(
        "a declined charge that was made all the same is forgotten with its order",
        "functions/payment/src/cancel.rs",
        "            status @ (ChargeStatus::Captured(_) | ChargeStatus::Pending) => {",
        "            ChargeStatus::Captured(_) => Ok(Closing::Closed),\n            status @ ChargeStatus::Pending => {",
        tests="cancel::",
    ),
    Fault(
        "PayPal's webhook is believed whatever it signs",
        "functions/webhook/src/partners/paypal.rs",
        "            verified.map_err(|_| SignatureError::Wrong)",
        "            verified.ok();\n            Ok(())",
        tests="webhook",
    ),
    Fault(
        "a webhook is heard as often as it is repeated",
        "functions/webhook/src/lib.rs",
        "        if self.store.is_key_used(&key, now).await? {",
        "        if self.store.is_key_used(&key, now).await? && key.is_empty() {",
        tests="paypal_webhooks::a_webhook_that_paypal_repeats",
    ),
    Fault(
        "an old webhook of Stripe's is as good as a new one",
        "functions/webhook/src/partners/stripe.rs",
        "    now.seconds().abs_diff(seconds) <= TOLERANCE.as_secs()",
        "    now.seconds().abs_diff(seconds) <= TOLERANCE.as_secs() * 100",
        tests="webhook",
    ),
    Fault(
        "a dispute is noted on an order that has another charge",
        f"{STORE}/news.rs",
        "standing.filter(|order| has_charge(order, reference)) else {\n                return Ok(NotedDispute::Foreign);",
        "standing.filter(|order| order.payment.is_some()) else {\n                return Ok(NotedDispute::Foreign);",
        tests="webhook",
    ),
    Fault(
        "old news of a dispute replaces new news",
        f"{STORE}/news.rs",
        "                Some(known) if known.at > news.at => return Ok(NotedDispute::Known),\n",
        "",
        tests="late::",
    ),
    Fault(
        "an order takes any number of disputes",
        f"{STORE}/news.rs",
        "                None if named(&order) >= Dispute::MOST => return Ok(NotedDispute::Full),\n",
        "",
        tests="late::",
    ),
    Fault(
        "a dispute that is first heard of when it is lost is not counted",
        "functions/payment/src/dispute.rs",
        "            NotedDispute::New => {",
        "            NotedDispute::New if news.state == domain::DisputeState::Lost => {}\n            NotedDispute::New => {",
        tests="late::",
    ),
    Fault(
        "old news of a parcel replaces new news",
        f"{STORE}/news.rs",
        "attribute_not_exists(delivery) OR delivery.#at < :at",
        "attribute_not_exists(delivery) OR delivery.#at < :at OR delivery.#at >= :at",
        tests="webhook",
    ),
    Fault(
        "a webhook's event is used up before its message is sent",
        "functions/webhook/src/lib.rs",
        "        let passed_on = match event.news() {",
        '        self.store.use_key(&key, "", now).await?;\n        let passed_on = match event.news() {',
        tests="webhook",
    ),
    Fault(
        "an operator's look counts as a try",
        "functions/relay/src/sweep.rs",
        "due.tries.saturating_add(u32::from(!due.by_operator))",
        "due.tries.saturating_add(1)",
        tests="chain::a_look_that_an_operator",
    ),
    Fault(
        "the book shows a message that no step can read",
        "docs/design/messages.md",
        '"timemillis": "1795428725000"',
        '"timemillis": 1795428725000',
        tests="documents::",
    ),
    Fault(
        "an unanswered write counts as one that was not made",
        "shared/platform/src/aws.rs",
        "FailureKind::Unanswered | FailureKind::ServerFault => Outcome::Unknown,",
        "FailureKind::Unanswered | FailureKind::ServerFault => Outcome::NothingDone,",
        target="faults",
        tests="unavailable::",
    ),
    Fault(
        "of several tries the last one alone counts",
        "shared/platform/src/aws/tries.rs",
        "            config.interceptor_state().store_put(MayBeDone);",
        "            let _ = (config, MayBeDone);",
        target="faults",
        tests="unavailable::",
    ),
    Fault(
        "the charge is not of the invoice's total",
        "functions/payment/src/lib.rs",
        "        amount: order.amounts.total,",
        "        amount: order.amounts.sub_total,",
        tests="payments::",
    ),
    Fault(
        "news of a closed decline is dropped while the partner is out",
        "functions/payment/src/lib.rs",
        "Err(error) if !is_watched && !is_over => return Err(error),",
        "Err(error) if !is_watched && !is_over && order.lines.is_empty() => return Err(error),",
        tests="payments::news_of_a_closed_decline",
    ),
    Fault(
        "keys that were read once are used for ever",
        "shared/platform/src/secret.rs",
        "                state.stale_at = now.plus(FRESH);",
        "                state.stale_at = now.plus(FRESH * 10_000);",
        tests="secrets::",
    ),
    Fault(
        "every refusal of a key reads its secret",
        "shared/platform/src/secret.rs",
        " || now < state.next_refusal_read_at {",
        " {",
        tests="secrets::",
    ),
    Fault(
        "without Secrets Manager there are no keys, whatever was read before",
        "shared/platform/src/secret.rs",
        "        state.keys.clone().ok_or(error)",
        "        Err(error)",
        tests="secrets::while_secrets_manager_is_out",
    ),
    Fault(
        "an empty secret is an outage",
        "shared/platform/src/secret.rs",
        "            Self::Config(_) => true,",
        "            Self::Config(_) => false,",
        tests="secrets::",
    ),
    Fault(
        "Stripe's refusal of a key is final until the secret is old",
        "shared/partner/src/call.rs",
        "        if matches!(answer.status, 401 | 403)",
        "        if answer.status == 418",
        tests="secrets::a_key_that_was_rolled",
    ),
    Fault(
        "PayPal's refusal of a client's secret is final until that is old",
        "functions/payment/src/partners/paypal/client.rs",
        "                    Some(newer) => self.new_token(&newer).await,",
        "                    Some(_) => Err(failure),",
        tests="secrets::a_replaced_secret",
    ),
    Fault(
        "without keys the messages of due orders become dead letters, and others are dropped",
        "functions/payment/src/lib.rs",
        "        if !order.is_some_and(|order| self.is_watched(&order)) {",
        "        if order.is_some_and(|order| self.is_watched(&order)) {",
        tests="secrets::",
    ),
    Fault(
        "without its key a carrier's messages become dead letters",
        "functions/shipment/src/lib.rs",
        "            Err(error @ Error::NotConfigured { .. }) if is_due => {",
        "            Err(error @ Error::NotConfigured { .. }) if !is_due => {",
        tests="secrets::a_shop_without_its_carriers_key",
    ),
    Fault(
        "a webhook's secret that was rolled counts only once the old one is old",
        "functions/webhook/src/partners/mod.rs",
        "            Some(newer) => verify(&newer),",
        "            Some(_) => Err(SignatureError::Wrong),",
        tests="secrets::webhooks_are_heard",
    ),
    Fault(
        "connections to partners are kept while the function is frozen",
        "shared/platform/src/outbound.rs",
        ".pool_max_idle_per_host(0);",
        ".pool_max_idle_per_host(8);",
        tests="connections::",
    ),
    Fault(
        "forged webhooks fetch as many certificates as they name",
        "functions/webhook/src/partners/paypal/certificates.rs",
        "        let may = self.spent < BURST;",
        "        let may = self.spent < BURST || self.since.is_some();",
        tests="paypal_webhooks::a_flood",
    ),
    Fault(
        "a certificate that PayPal does not know is asked for again and again",
        "functions/webhook/src/partners/paypal/certificates.rs",
        "            missing == name && now < since.plus(MISSING_FOR)",
        "            missing == name && now < *since",
        tests="paypal_webhooks::a_name_that_paypal",
    ),
    Fault(
        "an order expires and its charge stays open",
        "functions/payment/src/cancel.rs",
        "        let error = match self.close(order).await {",
        "        let error = match Ok::<_, Error>(Closing::Closed) {",
        tests="expiry::an_order_that_waits",
    ),
    Fault(
        "what is pending or unknown expires",
        "shared/domain/src/order.rs",
        "            ChargeState::Processing => payment.claimed_from?,",
        "            ChargeState::Processing => payment.claimed_from.map(|_| ChargeState::ActionRequired)?,",
        tests="expiry::what_does_not_wait",
    ),
    Fault(
        "an order that expired does not say why",
        "functions/payment/src/cancel.rs",
        ".cancel_order(order, basis, Some(&reason), now)",
        ".cancel_order(order, basis, Some(&reason).filter(|_| false), now)",
        tests="expiry::an_order_that_waits",
    ),
    Fault(
        "an order expires although a new attempt began",
        f"{STORE}/payments.rs",
        '.set("payment.waitingSince", at);',
        '.assign("payment.waitingSince", "if_not_exists(payment.waitingSince, :at)").value(":at", at);',
        tests="expiry::an_attempt",
    ),
    Fault(
        "an order that an earlier version left waiting waits since its next look",
        f"{STORE}/payments.rs",
        "let since = order.waiting_since().unwrap_or(now);",
        "let since = order.waiting_since().map_or(now, |since| since.max(now));",
        tests="expiry::an_order_of_an_earlier_version",
    ),
    Fault(
        "a late approval charges what has waited too long",
        "functions/payment/src/lib.rs",
        "                if matches!(trigger, Trigger::Message) && self.unpaid.is_over(&order, now) =>",
        "                if trigger.key().is_some() && self.unpaid.is_over(&order, now) =>",
        tests="expiry::one_late_approval",
    ),
    Fault(
        "a declined order expires while its charge is alive",
        "functions/payment/src/lib.rs",
        "        if is_closed && is_over {",
        "        if is_over {",
        tests="expiry::an_order_at_paypal",
    ),
    Fault(
        "the sweep forgets a declined order before it expires",
        "functions/relay/src/sweep.rs",
        "            if let Some(at) = expires {",
        "            if let Some(at) = expires.filter(|_| false) {",
        tests="expiry::the_sweep_alone",
    ),
    Fault(
        "the mail does not say that the order was not paid",
        "shared/messages/src/message.rs",
        "(kind == EventType::OrderCancelled && order.is_expired())",
        "(kind == EventType::PaymentRefunded && order.is_expired())",
        tests="expiry::the_sandboxs",
    ),
    # What the histories' invariants must notice, whatever the suite does.
    Fault(
        "no declined order expires",
        "functions/payment/src/lib.rs",
        "        let is_over = self.unpaid.is_over(order, now);",
        "        let is_over = false;",
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "no mail is ever sent",
        "functions/email/src/lib.rs",
        "let sent = mailer.send(&id, to, mail).await;",
        'let sent: Result<String, MailerError> = { let _ = (to, mail, mailer); Ok("none".to_owned()) };',
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "every mail goes to one address",
        "functions/email/src/lib.rs",
        "let to = Email::parse(&data.email).map_err(bad_address)?;",
        'let _ = &data.email;\n        let to = Email::parse("a@example.org").map_err(bad_address)?;',
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "the invoice's total is its tax",
        f"{STORE}/invoices.rs",
        '.item("total", money(order.amounts.total))',
        '.item("total", money(order.amounts.tax))',
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "a charge is in another currency",
        "functions/payment/src/lib.rs",
        "        currency: order.currency,",
        '        currency: "EUR".parse().unwrap_or(order.currency),',
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "a parcel goes to the customer's name",
        "functions/shipment/src/lib.rs",
        "            shipping_address: contact.shipping_address.clone(),",
        "            shipping_address: contact.name.clone(),",
        target="faults",
        tests="histories::without_faults",
    ),
    Fault(
        "a refund is one cent",
        "functions/payment/src/partners/stripe/client.rs",
        '            ("payment_intent", charge.reference.as_str()),\n            ("metadata[order_id]", &order),',
        '            ("payment_intent", charge.reference.as_str()),\n            ("amount", "1"),\n            ("metadata[order_id]", &order),',
        target="faults",
        tests="histories::a_crash_at_any_effect_breaks_nothing_through_the_client_of_stripe",
    ),
    Fault(
        "a customer who returns to a payment method is given the charge that was closed",
        "functions/payment/src/partners/stripe/mod.rs",
        '        Some(closed) => format!("{key}-{closed}"),',
        "        Some(_) => key,",
        tests="obligations::",
    ),
    Fault(
        "a key of a declined attempt is given a later attempt's payment",
        "functions/payment/src/lib.rs",
        "        match payment.and_then(|payment| past_decline(payment, trigger.key())) {",
        "        match payment.and_then(|payment| past_decline(payment, None)) {",
        tests="sequences::",
    ),
    Fault(
        "a mail whose fate is unknown is not counted",
        "functions/email/src/lib.rs",
        '        self.count("EmailUnconfirmed");',
        '        self.count("WebhookIgnored");',
        tests="metrics::a_mail",
    ),
    Fault(
        "another's parking of a mail counts as one's own",
        f"{STORE}/emails.rs",
        '                    && is("settledAt", n(now.millis()))\n',
        "",
        tests="metrics::a_mail_that_is_parked_by_two",
    ),
    Fault(
        "a fault of ours is logged and not counted",
        "shared/service/src/lambda/mod.rs",
        "    if matches!(error, Error::Internal(_) | Error::NoQueue) || error.needs_operator() {",
        "    if matches!(error, Error::NoQueue) {",
        tests="metrics::a_table_that_is_missing",
    ),
    Fault(
        "a dependency that is out counts as a fault of ours",
        "shared/service/src/lambda/mod.rs",
        "    if matches!(error, Error::Internal(_) | Error::NoQueue) || error.needs_operator() {",
        "    if !matches!(error, Error::Invalid(_)) {",
        tests="metrics::a_mail_whose_answer",
    ),
    Fault(
        "a charge whose answer is lost is not counted",
        "functions/payment/src/lib.rs",
        '                telemetry::count(&self.stage, "PaymentUnknown", 1, self.runtime.now());\n',
        "",
        tests="metrics::a_charge",
    ),
    Fault(
        "a sweep without time counts as one that did its work",
        "functions/relay/src/handler.rs",
        'self.count("SweepFailed", report.failed + report.unfinished);',
        'self.count("SweepFailed", report.failed);',
        tests="metrics::a_sweep_without_time",
    ),
    Fault(
        "a refused refund is not counted",
        "functions/payment/src/cancel.rs",
        '                telemetry::count(&self.stage, "RefundFailed", 1, self.runtime.now());\n',
        '                telemetry::count(&self.stage, "RefundFailed", 0, self.runtime.now());\n',
        tests="metrics::a_refund",
    ),
    Fault(
        "a metric is written in a form that CloudWatch does not read",
        "shared/platform/src/telemetry.rs",
        '"Dimensions": [["Stage"]],',
        '"Dimensions": ["Stage"],',
        tests="metrics::",
    ),
]


def pattern(source: str) -> re.Pattern[str]:
    """Finds the words and signs of `source`, however they are laid out.

    A comma before a closing bracket is optional: a formatter adds one when it wraps.
    """
    compact = re.sub(r",\s*(?=[)\]}])", "", source)
    parts = [re.escape(part) for part in re.findall(r"\w+|\S", compact)]
    optional = [rf"(?:,\s*)?{part}" if index and part in CLOSING else part for index, part in enumerate(parts)]
    return re.compile(r"\s*".join(optional))


def fits(fault: Fault) -> bool:
    return len(pattern(fault.right).findall((ROOT / fault.file).read_text())) == 1


def copy_sources() -> None:
    """Only what changed is written, so that cargo builds only that."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listing.stdout.split("\0")):
        source, place = ROOT / name, COPY / name
        if source.exists() and (not place.exists() or place.read_bytes() != source.read_bytes()):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)


def cargo(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A target folder of its own: cargo takes the crates of two copies of one workspace for the same, and in a shared one
    # a fault could end up in what is built from the real source.
    environment = os.environ | {"CARGO_TARGET_DIR": str(COPY / "target")}
    return subprocess.run(["cargo", *arguments], cwd=COPY, env=environment, capture_output=True, text=True, check=False)


def is_noticed(fault: Fault) -> str:
    """Names the test that turned red; exits where none did, or where the fault does not compile."""
    place = COPY / fault.file
    right = place.read_text()
    place.write_text(pattern(fault.right).sub(lambda _: fault.wrong, right))
    try:
        built = cargo("test", "--package", "tests", "--test", fault.target, "--no-run")
        if built.returncode:
            return sys.exit(f"{fault.name}: does not compile\n{built.stderr[-3000:]}") or ""
        result = cargo("test", "--package", "tests", "--test", fault.target, "--", fault.tests)
        if result.returncode == 0:
            return sys.exit(f"{fault.name}: nobody noticed") or ""
        red = [line.split()[1] for line in result.stdout.splitlines() if line.endswith("... FAILED")]
        return red[0] if red else sys.exit(f"{fault.name}: failed without a failed test\n{result.stdout[-3000:]}")
    finally:
        place.write_text(right)


def main(arguments: list[str]) -> None:
    misfits = [fault.name for fault in FAULTS if not fits(fault)]
    if misfits:
        sys.exit("These faults no longer fit the source, once each:\n  " + "\n  ".join(misfits))
    if "--check" in arguments:
        print(f"{len(FAULTS)} faults fit the source")
        return
    copy_sources()
    chosen = [fault for fault in FAULTS if not arguments or fault.name == arguments[0]]
    if not chosen:
        sys.exit("There is no such fault. There are:\n  " + "\n  ".join(fault.name for fault in FAULTS))
    for fault in chosen:
        started = time.monotonic()
        red = is_noticed(fault)
        print(f"{fault.name}: noticed by {red} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{len(chosen)} passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1:])
