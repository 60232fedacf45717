"""What counts as needing an eye, and what of it is shown."""

from __future__ import annotations

import json
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

import work  # noqa: E402  (the path above makes it importable)
from report import SHOWN, as_json, duration, moment, table, text  # noqa: E402
from work import (  # noqa: E402
    OWN_MAIL_ID,
    Age,
    DeadLetterQueue,
    Due,
    Mail,
    Order,
    Queue,
    Reason,
    Redrive,
    Survey,
    read_dead_letter,
    read_mail,
    read_order,
)

NOW = 1_795_428_725_000
MINUTE = 60_000
ID = "ord_01JDB4XK00EXAMPVE0RDER0001"
PERSONAL = ("Lital Hay", "lital@example.com", "17 boulevard", "0545870006")
QUIET = tuple(DeadLetterQueue(queue, 0) for queue in work.QUEUES)


def an_order(*, tries: int = 0, ahead: int = MINUTE, payment: str | None = "due", status: str = "invoiced") -> Order:
    """An order that waits for its payment and is looked at that much later."""
    return Order(ID, status, Due("payment", NOW + ahead, tries), payment, "sandbox_1")


def a_body(**fields: object) -> str:
    """A message as the relay sends it, whole."""
    data = {"name": PERSONAL[0], "email": PERSONAL[1], "shippingAddress": PERSONAL[2], "phone": PERSONAL[3]}
    envelope = {"specversion": "1.0", "source": "/orderflow", "time": moment(NOW), "timemillis": str(NOW)}
    event = {"id": f"{ID}/2", "type": "InvoiceCreated", "subject": ID, "data": data}
    return json.dumps(envelope | event | fields)


class TestFigures(unittest.TestCase):
    def test_they_are_those_of_the_functions(self) -> None:
        for file, line in {
            "functions/relay/src/sweep.rs": f"const OVERDUE_TRIES: u32 = {work.OVERDUE_TRIES};",
            "shared/domain/src/order.rs": f"pub const SHARDS: u8 = {work.SHARDS};",
            "functions/email/src/lib.rs": f"CLAIM_STALE_AFTER: Duration = Duration::from_mins({work.CLAIM_STALE_AFTER // 60_000});",
        }.items():
            self.assertIn(line, (ROOT / file).read_text(), file)

    def test_names_are_those_of_the_functions(self) -> None:
        def named(file: str, enum: str) -> list[str]:
            """The names that strum derives: those of the variants, or the same in snake case."""
            head, body = (ROOT / file).read_text().split(f"pub enum {enum} {{")
            variants = re.findall(r"(?m)^    (\w+),$", body.split("\n}\n")[0])
            attributes = head.rsplit("\n\n", 1)[1]
            if 'serialize_all = "snake_case"' not in attributes:
                return variants
            return [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", variant).lower() for variant in variants]

        self.assertEqual(tuple(named("shared/domain/src/order.rs", "DueStep")), work.STEPS)
        self.assertEqual(tuple(named("shared/domain/src/state.rs", "EventType")), work.EVENTS)
        reported = re.findall(r'&\'static str = "(\w+Reported)"', (ROOT / "shared/messages/src/message.rs").read_text())
        self.assertEqual(tuple(reported), work.REPORTS)
        self.assertLessEqual(set(work.PARKED_PAYMENTS) | {"declined"}, set(named("shared/domain/src/order.rs", "ChargeState")))
        self.assertLessEqual(set(work.FINAL_MAIL_STATES), set(named("shared/store/src/emails.rs", "EmailState")))

    def test_queues_are_those_of_the_template(self) -> None:
        template = (ROOT / "template.yaml").read_text()
        for queue, output in work.QUEUES.items():
            resource = "EmailFeedback" if queue == "feedback" else queue.capitalize()
            for kind, value in (("QueueUrl", "Queue"), ("DeadLettersUrl", "DeadLetters")):
                pattern = rf"\n  {output}{kind}:\n    Description: .*\n    Value: !Ref {resource}{value}\n"
                self.assertRegex(template, pattern)


class TestOrders(unittest.TestCase):
    def test_an_order_on_its_way_is_not_listed(self) -> None:
        self.assertEqual(an_order(tries=0).reasons(NOW), [])
        self.assertEqual(Order(ID, "shipped").reasons(NOW), [])

    def test_the_third_publication_makes_it_overdue_unless_it_waits_for_its_customer(self) -> None:
        self.assertEqual(an_order(tries=3).reasons(NOW), [Reason.OVERDUE])
        parked = an_order(tries=9, payment="action_required")
        self.assertEqual(parked.reasons(NOW), [Reason.PAYMENT_ACTION_REQUIRED])
        self.assertEqual(an_order(tries=9, payment="declined").reasons(NOW), [])
        # What it waits for then is a mail.
        unmailed = Order(ID, "invoiced", Due("email", NOW + MINUTE, 3), "declined")
        self.assertEqual(unmailed.reasons(NOW), [Reason.OVERDUE])

    def test_a_step_that_failed_once_is_listed_unless_the_payment_waits_for_somebody(self) -> None:
        self.assertEqual(an_order(tries=1).reasons(NOW), [Reason.RETRIED])
        self.assertEqual(Survey("", NOW, (an_order(tries=1),), dead=QUIET).troubles, ["orders: 1"])
        for payment, why in (("pending", [Reason.PAYMENT_PENDING]), ("declined", []), ("unknown", [Reason.PAYMENT_UNKNOWN])):
            self.assertEqual(an_order(tries=2, payment=payment).reasons(NOW), why)

    def test_a_parked_payment_is_listed_before_its_time(self) -> None:
        self.assertEqual(an_order(payment="pending").reasons(NOW), [Reason.PAYMENT_PENDING])
        self.assertEqual(an_order(payment="unknown", tries=3).reasons(NOW), [Reason.OVERDUE, Reason.PAYMENT_UNKNOWN])

    def test_a_mark_that_the_sweep_leaves_behind_is_told_from_one_that_it_will_take(self) -> None:
        self.assertEqual(an_order(ahead=0).reasons(NOW), [Reason.DUE])
        self.assertEqual(an_order(ahead=-6 * MINUTE).reasons(NOW), [Reason.UNSWEPT])

    def test_only_what_somebody_here_can_mend_needs_attention(self) -> None:
        calm = (an_order(payment="pending"), an_order(payment="action_required", tries=9), an_order(ahead=0))
        for order in calm:
            self.assertEqual(Survey("", NOW, (order,), dead=QUIET).troubles, [])
        for order in (an_order(tries=3), an_order(payment="unknown"), an_order(ahead=-6 * MINUTE)):
            self.assertEqual(Survey("", NOW, (order,), dead=QUIET).troubles, ["orders: 1"])

    def test_the_gravest_comes_first(self) -> None:
        orders = (an_order(ahead=0), an_order(payment="unknown"), an_order(tries=3))
        self.assertEqual([reasons[0] for _, reasons in Survey("", NOW, orders).listed], ["overdue", "payment_unknown", "due"])

    def test_it_is_read_from_its_item_with_or_without_a_mark(self) -> None:
        item: dict[str, object] = {"orderId": ID, "status": "invoiced", "payment": {"state": "due", "reference": "sandbox_1"}}
        self.assertEqual(read_order(item), Order(ID, "invoiced", None, "due", "sandbox_1"))
        item |= {"dueStep": "payment#3", "dueAt": NOW + MINUTE, "dueTries": 0}
        self.assertEqual(read_order(item), an_order())


class TestMails(unittest.TestCase):
    def test_unconfirmed_is_parked_and_sending_is_once_its_claim_is_stale(self) -> None:
        parked = {
            state: Mail("m", state, NOW - MINUTE).is_parked(NOW)
            for state in ("queued", "sending", "sent", "unconfirmed", "rejected")
        }
        self.assertEqual(parked, {"queued": False, "sending": False, "sent": False, "unconfirmed": True, "rejected": True})
        self.assertTrue(Mail("m", "sending", NOW - 8 * MINUTE).is_parked(NOW))

    def test_a_refused_address_is_shown_and_needs_no_attention(self) -> None:
        survey = Survey("", NOW, mails=(Mail(f"{ID}/OrderShipped", "rejected", NOW),))
        self.assertEqual((len(survey.parked_mails), survey.troubles), (1, []))

    def test_what_ses_told_of_a_mail_is_shown_once_its_sending_has_ended_and_needs_no_attention(self) -> None:
        row = {"emailId": "m", "claimedAt": 1, "settledAt": 2, "feedback": "bounced", "feedbackAt": 3}
        states = {state: read_mail(row | {"state": state}).state for state in ("sending", "sent", "unconfirmed", "failed")}
        self.assertEqual(states, {"sending": "sending", "sent": "bounced", "unconfirmed": "bounced", "failed": "failed"})
        for state in ("bounced", "complained", "suppressed"):
            mail = Mail("m", state, NOW)
            self.assertTrue(mail.is_parked(NOW) and not mail.needs_attention)

    def test_a_promised_mail_that_does_not_go_out_needs_attention_and_so_does_one_that_was_given_up(self) -> None:
        for tries, is_parked in ((2, False), (3, True)):
            self.assertEqual(Mail("m", "queued", NOW, tries).is_parked(NOW), is_parked)
        failed = Mail("m", "failed", NOW)
        self.assertTrue(failed.is_parked(NOW) and failed.needs_attention)

    def test_one_that_was_seen_is_listed_again_only_if_something_new_happens_to_it(self) -> None:
        row = {"emailId": "m", "state": "unconfirmed", "claimedAt": NOW - 9, "settledAt": NOW - 8}
        self.assertTrue(read_mail(row).is_parked(NOW))
        self.assertFalse(read_mail(row | {"seenAt": NOW - 7}).is_parked(NOW))
        self.assertTrue(read_mail(row | {"seenAt": NOW - 7, "feedback": "bounced", "feedbackAt": NOW - 6}).is_parked(NOW))
        # Sent again, and unconfirmed again.
        self.assertTrue(read_mail(row | {"seenAt": NOW - 7, "settledAt": NOW - 5}).is_parked(NOW))

    def test_its_time_is_when_it_was_settled_else_claimed_else_promised(self) -> None:
        row: dict[str, object] = {"emailId": "m", "state": "queued", "keptAt": 1, "dueTries": 4}
        self.assertEqual((read_mail(row).since, read_mail(row).tries), (1, 4))
        self.assertEqual(read_mail(row | {"claimedAt": 2}).since, 2)
        self.assertEqual(read_mail(row | {"claimedAt": 2, "settledAt": 3}).since, 3)


class TestDeadLetters(unittest.TestCase):
    def test_only_what_looks_like_ours_is_taken_from_a_body(self) -> None:
        letter = read_dead_letter("m", NOW, a_body())
        self.assertEqual((letter.event, letter.kind, letter.order), (f"{ID}/2", "InvoiceCreated", ID))
        for body in (
            PERSONAL[1],
            "[]",
            "1",
            a_body(id=PERSONAL[0], type=PERSONAL[1], subject=PERSONAL[2]),
            a_body(id=7, type=[]),
            a_body(specversion="0.3"),
            a_body(timemillis=NOW),
            a_body(time=None),
            a_body(source=1),
        ):
            letter = read_dead_letter("m", NOW, body)
            self.assertEqual(letter.redrive("payment", {}, {}), Redrive.UNREADABLE)
            for secret in PERSONAL:
                self.assertNotIn(secret, repr(letter))

    def test_a_redrive_does_nothing_once_the_step_is_done(self) -> None:
        done = {
            "billing": {"pending": False, "invoiced": True, "paid": True, "shipped": True},
            "payment": {"invoiced": False, "paid": True, "shipped": True, "refunding": True},
            "shipment": {"paid": False, "shipped": True},
        }
        letter = read_dead_letter("m", NOW, a_body())
        for queue, statuses in done.items():
            for status, is_done in statuses.items():
                expected = Redrive.NOTHING if is_done else Redrive.TRY_AGAIN
                self.assertEqual(letter.redrive(queue, {ID: Order(ID, status)}, {}), expected, (queue, status))
            self.assertEqual(letter.redrive(queue, {}, {}), Redrive.UNKNOWN_ORDER)

    def test_a_letter_whose_step_cannot_begin_yet_would_return(self) -> None:
        letter = read_dead_letter("m", NOW, a_body())
        for queue, status in (("payment", "pending"), ("shipment", "pending"), ("shipment", "invoiced")):
            self.assertEqual(letter.redrive(queue, {ID: Order(ID, status)}, {}), Redrive.TOO_EARLY, (queue, status))

    def test_a_refund_that_is_still_missing_is_tried_again(self) -> None:
        letter = read_dead_letter("m", NOW, a_body(type="RefundRequested"))
        order = Order(ID, "refunding", payment="captured")
        self.assertEqual(letter.redrive("payment", {ID: order}, {}), Redrive.TRY_AGAIN)

    def test_a_refund_of_a_part_is_tried_again_while_its_outcome_is_unknown(self) -> None:
        letter = read_dead_letter("m", NOW, a_body(type="RefundRequested"))
        for state, closes, expected in (
            ("requested", False, Redrive.TRY_AGAIN),
            ("pending", False, Redrive.TRY_AGAIN),
            ("refunded", False, Redrive.NOTHING),
            ("failed", False, Redrive.NOTHING),
            ("requested", True, Redrive.NOTHING),
        ):
            refunds = {"rfd_1": {"state": "refunded"}, "rfd_2": {"state": state, "closes": closes}}
            for status in ("paid", "shipped"):
                order = read_order({"orderId": ID, "status": status, "payment": {"state": "captured"}, "refunds": refunds})
                self.assertEqual(letter.redrive("payment", {ID: order}, {}), expected, (state, closes, status))

    def test_an_order_whose_parcel_is_refused_shows_the_carriers_code(self) -> None:
        due = {"dueStep": "shipping#1", "dueAt": NOW + MINUTE, "dueTries": 3}
        item = {"orderId": ID, "status": "paid", **due, "shippingRefusal": {"code": "ADDRESS.VERIFY.FAILURE", "at": NOW}}
        for order, code in ((read_order(item), "ADDRESS.VERIFY.FAILURE"), (read_order(item | {"shippingRefusal": {}}), None)):
            survey = Survey("here", NOW, orders=(order,), dead=QUIET)
            self.assertEqual(f"shipping ({code})" in text(survey), code is not None)
            shown = json.loads(as_json(survey))["orders"][0]
            self.assertEqual(shown["shippingRefusal"], code and {"code": code})

    def test_each_state_of_a_parcel_has_a_mail_of_its_own(self) -> None:
        for event in ("ParcelOutForDelivery", "ParcelAvailableForPickup", "ParcelDelivered", "ParcelReturned"):
            letter = read_dead_letter("m", NOW, a_body(id=f"{ID}/7", type=event))
            self.assertEqual((letter.event, letter.mail), (f"{ID}/7", f"{ID}/{event}"))
            sent, other = Mail(f"{ID}/{event}", "sent", NOW), Mail(f"{ID}/OrderShipped", "sent", NOW)
            self.assertEqual(letter.redrive("email", {}, {sent.id: sent}), Redrive.NOTHING)
            self.assertEqual(letter.redrive("email", {}, {other.id: other}), Redrive.TRY_AGAIN)
            named = OWN_MAIL_ID.fullmatch(sent.id)
            self.assertEqual(named and named["order"], ID)

    def test_a_bounce_that_was_not_recorded_shows_its_mail_and_no_address_and_can_be_recorded_at_any_time(self) -> None:
        [record] = json.loads((ROOT / "events" / "email-feedback-queue.json").read_text())["Records"]
        event = json.loads(record["body"])
        event["mail"]["tags"]["emailId"] = [f"{ID}-InvoiceCreated"]
        complaint = event | {"eventType": "Complaint", "complaint": event.pop("bounce")}
        for kind, feedback in (("Bounce", event), ("Complaint", complaint)):
            letter = read_dead_letter("m", NOW, json.dumps(feedback))
            self.assertEqual((letter.kind, letter.event, letter.order), (kind, f"{ID}/InvoiceCreated", ID))
            self.assertEqual(letter.redrive("feedback", {}, {}), Redrive.TRY_AGAIN)
            for queue in set(work.QUEUES) - {"feedback"}:
                self.assertEqual(letter.redrive(queue, {}, {}), Redrive.UNREADABLE)
            survey = Survey("here", NOW, dead=(DeadLetterQueue("feedback", 1, ((letter, Redrive.TRY_AGAIN),)),))
            self.assertNotIn("@", text(survey) + as_json(survey))
        for tag in (None, [], [7], ["lital@example.com"], {"a": 1}):
            event["mail"]["tags"]["emailId"] = tag
            letter = read_dead_letter("m", NOW, json.dumps(event))
            self.assertEqual((letter.event, letter.order), (None, None))
            self.assertEqual(letter.redrive("feedback", {}, {}), Redrive.TRY_AGAIN)
        for body in ("", "[]", "{}", a_body(), '{"eventType": "Delivery"}'):
            self.assertEqual(read_dead_letter("m", NOW, body).redrive("feedback", {}, {}), Redrive.UNREADABLE, body)

    def test_each_refund_has_a_mail_of_its_own(self) -> None:
        row = f"{ID}/PaymentRefunded/rfd_2N5C7H0V3Q9WXK4E8RTYD61ZAB"
        for key in (row, f"{row}/{'0af7' * 16}"):
            letter = read_dead_letter("m", NOW, a_body(id=key, type="PaymentRefunded"))
            self.assertEqual((letter.event, letter.mail), (key, key))
            sent, other = Mail(key, "sent", NOW), Mail(f"{ID}/PaymentRefunded", "sent", NOW)
            self.assertEqual(letter.redrive("email", {}, {key: sent}), Redrive.NOTHING)
            self.assertEqual(letter.redrive("email", {}, {other.id: other}), Redrive.TRY_AGAIN)
        named = OWN_MAIL_ID.fullmatch(row)
        self.assertEqual(named and named["order"], ID)

    def test_a_mail_without_its_data_or_about_an_event_that_is_not_mailed_would_return(self) -> None:
        for body in (a_body(data=None), a_body(type="CartUpdated"), a_body(type="RefundRequested")):
            self.assertEqual(read_dead_letter("m", NOW, body).redrive("email", {}, {}), Redrive.UNREADABLE)

    def test_no_message_starts_another_attempt_after_a_decline(self) -> None:
        letter = read_dead_letter("m", NOW, a_body())
        self.assertEqual(letter.redrive("payment", {ID: an_order(payment="declined")}, {}), Redrive.NOTHING)

    def test_news_of_a_refund_is_asked_about_again_also_after_the_order_is_cancelled(self) -> None:
        letter = read_dead_letter("m", NOW, a_body(type="RefundRequested"))
        for payment in ("refunded", "refund_failed"):
            order = an_order(payment=payment, status="cancelled")
            self.assertEqual(letter.redrive("payment", {ID: order}, {}), Redrive.TRY_AGAIN)
        unpaid = an_order(payment="cancelled", status="cancelled")
        self.assertEqual(letter.redrive("payment", {ID: unpaid}, {}), Redrive.NOTHING)

    def test_a_mail_is_done_once_its_ledger_row_has_ended(self) -> None:
        letter = read_dead_letter("m", NOW, a_body())
        key = f"{ID}/InvoiceCreated"
        for state, expected in {
            "sent": "nothing",
            "unconfirmed": "nothing",
            "queued": "try_again",
            "sending": "try_again",
        }.items():
            self.assertEqual(letter.redrive("email", {}, {key: Mail(key, state, NOW)}), expected)
        self.assertEqual(letter.redrive("email", {}, {}), Redrive.TRY_AGAIN)

    def test_a_mail_that_names_no_order_is_found_by_its_request(self) -> None:
        letter = read_dead_letter("m", NOW, a_body(id="request/0af7", subject=None))
        self.assertEqual(letter.redrive("email", {}, {"request/0af7": Mail("request/0af7", "sent", NOW)}), Redrive.NOTHING)

    def test_a_mail_to_another_address_than_the_orders_is_found_by_its_own_row(self) -> None:
        row = f"{ID}/InvoiceCreated/{'0af7' * 16}"
        letter = read_dead_letter("m", NOW, a_body(id=row))
        self.assertEqual((letter.mail, letter.order), (row, ID))
        own = f"{ID}/InvoiceCreated"
        self.assertEqual(letter.redrive("email", {}, {own: Mail(own, "sent", NOW)}), Redrive.TRY_AGAIN)
        self.assertEqual(letter.redrive("email", {}, {row: Mail(row, "sent", NOW)}), Redrive.NOTHING)

    def test_what_a_partner_reported_is_asked_again(self) -> None:
        for queue, kind, event in (
            ("payment", "ChargeReported", "webhook/stripe/evt_1"),
            ("payment", "DisputeReported", "webhook/paypal/WH-2WR32451HC0233532-67976317FL4543714"),
            ("shipment", "DeliveryReported", "webhook/easypost/evt_1"),
        ):
            letter = read_dead_letter("m", NOW, a_body(id=event, type=kind, subject="shp_1"))
            self.assertEqual((letter.event, letter.kind, letter.order), (event, kind, None))
            self.assertEqual(letter.redrive(queue, {}, {}), Redrive.TRY_AGAIN)


class TestReport(unittest.TestCase):
    survey = Survey(
        "orderflow at http://127.0.0.1:4566",
        NOW,
        (an_order(tries=3), an_order()),
        mails=(Mail(f"{ID}/OrderShipped", "unconfirmed", NOW - MINUTE),),
        queues=(
            Queue("billing", 0),
            Queue("payment", 12, Age(1230)),
            Queue("shipment", 2, Age(None, "CloudWatch has no recent data")),
            Queue("email", 1, Age(None, "CloudWatch has no recent data")),
        ),
        dead=(
            DeadLetterQueue("billing", 1, ((read_dead_letter("m-1", NOW, "poison"), Redrive.UNREADABLE),)),
            DeadLetterQueue("payment", 2, ((read_dead_letter("m-2", NOW, a_body()), Redrive.TRY_AGAIN),)),
        ),
        relay_failures=4,
    )

    def test_people_get_aligned_lines_and_a_last_word(self) -> None:
        self.assertEqual(
            text(self.survey),
            """\
orderflow at http://127.0.0.1:4566, 2026-11-23T10:12:05+00:00

Orders: 1 listed, 1 in progress
  order                           status    waits for  tries  next check                 payment  why
  ord_01JDB4XK00EXAMPVE0RDER0001  invoiced  payment    3      2026-11-23T10:13:05+00:00  due      overdue

Mails: 1 parked (promised, or of waiting orders; MAILS=days reads the whole ledger)
  mail                                         state        tries  since
  ord_01JDB4XK00EXAMPVE0RDER0001/OrderShipped  unconfirmed  0      2026-11-23T10:11:05+00:00

Queues: billing 0, payment 12 (oldest 20 min), shipment 2 (age unknown), email 1 (age unknown)
  age unknown: CloudWatch has no recent data

Dead letters: billing 1, payment 2 (1 of them read)
  queue/message  event                             type            order                           sent                       a redrive does
  billing/m-1    -                                 -               -                               2026-11-23T10:12:05+00:00  unreadable
  payment/m-2    ord_01JDB4XK00EXAMPVE0RDER0001/2  InvoiceCreated  ord_01JDB4XK00EXAMPVE0RDER0001  2026-11-23T10:12:05+00:00  try_again

Relay failures: 4

Needs attention: orders: 1, mails: 1, dead letters: 3, relay failures: 4.""",
        )

    def test_programs_get_the_same(self) -> None:
        read = json.loads(as_json(self.survey))
        self.assertTrue(read["needsAttention"])
        self.assertEqual(read["orders"][0]["due"], {"step": "payment", "at": moment(NOW + MINUTE), "tries": 3})
        self.assertEqual((read["orders"][0]["reasons"], read["ordersOnTheirWay"]), (["overdue"], 1))
        self.assertEqual(
            [(queue["count"], queue["oldestSeconds"]) for queue in read["queues"]], [(0, None), (12, 1230), (2, None), (1, None)]
        )
        self.assertEqual([queue["ageUnknown"] for queue in read["queues"]], [None, None, *["CloudWatch has no recent data"] * 2])
        self.assertEqual([queue["count"] for queue in read["deadLetters"]], [1, 2])
        self.assertEqual(read["deadLetters"][1]["messages"][0]["redrive"], "try_again")
        self.assertEqual((read["mails"][0]["state"], read["relayFailures"]), ("unconfirmed", 4))

    def test_durations_are_rounded_down(self) -> None:
        for seconds, shown in (
            (0, "0 s"),
            (59, "59 s"),
            (119, "1 min"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ):
            self.assertEqual(duration(seconds), shown)

    def test_nothing_is_said_to_need_attention_when_nothing_does(self) -> None:
        calm = Survey("here", NOW, (an_order(),), dead=QUIET)
        self.assertTrue(text(calm).endswith("\nNothing needs attention."))
        self.assertFalse(json.loads(as_json(calm))["needsAttention"])

    def test_a_long_list_is_cut_and_says_so(self) -> None:
        lines = table(("n",), [(str(n),) for n in range(SHOWN + 2)])
        self.assertEqual((len(lines), lines[-1]), (SHOWN + 2, "  and 2 more; FORMAT=json lists them"))

    def test_a_list_that_is_not_complete_says_so_and_is_no_all_clear(self) -> None:
        survey = Survey("here", NOW, complete=False, dead=QUIET)
        self.assertIn("(more exist, not read)", text(survey))
        self.assertTrue(survey.troubles)


if __name__ == "__main__":
    unittest.main()
