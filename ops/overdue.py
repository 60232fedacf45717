"""`make ops-overdue`: lists what needs attention in a deployed stack, and runs the operator's actions.

Exit codes: 0 nothing needs attention, or the action is done; 1 it failed; 2 an argument is invalid;
3 something needs attention.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from actions import Requeued, requeue, sweep
from deployment import Deployment, Failure, choose_aws, refusal, require_choice
from letters import DROPPABLE, MESSAGE_ID, Judge, Moved, drop, redrive
from mails import Ledgers, mark_as_seen, resend
from report import LETTER_HEADS, as_json, letter_json, letter_row, table, text
from survey import judge, take_survey
from work import MAIL_ID, MAILED_EVENTS, ORDER_ID, OWN_MAIL_ID, QUEUES

NEEDS_ATTENTION = 3

# Why a mail that is not an order's own is not resent: its row does not have the address.
REQUESTED = (
    "is a mail that the shop requested, and only the shop can have it sent. If it failed, repeat the request with the same"
    " key and body. If it is unconfirmed and names no order, send the request with a new key"
)


class Parser(argparse.ArgumentParser):
    """Reports an error in one line that also names the option's variable of `make ops-overdue`."""

    def error(self, message: str) -> NoReturn:
        named = re.sub(r"(?:argument )?--(\w+)", lambda option: f"{option[1].upper()} (--{option[1]})", message)
        self.exit(2, f"{named}\n")


def one_of(*allowed: str) -> Callable[[str], str]:
    """A parser for one of `words`."""

    def read(value: str) -> str:
        if value not in allowed:
            *most, last = allowed
            choice = f"{', '.join(most)} or {last}" if most else last
            raise argparse.ArgumentTypeError(f"must be {choice}, not {value!r}")
        return value

    return read


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The operator's arguments."""
    parser = Parser(description="List what needs attention in a deployed stack.", allow_abbrev=False)
    parser.add_argument("--stack", default="orderflow", help="name of the CloudFormation stack")
    parser.add_argument("--on", type=one_of("local", "aws"), help="a running `make run`, or AWS by your settings")
    parser.add_argument("--format", type=one_of("text", "json"), default="text", help="for people or for programs")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--mails", type=days, metavar="DAYS", help="scan the whole mail ledger for mails parked in the last DAYS days"
    )
    what.add_argument("--requeue", type=order, metavar="ORDER", help="make the sweep check this order within a minute")
    what.add_argument("--redrive", type=one_of(*QUEUES), metavar="QUEUE", help="move the dead letters that can succeed back")
    what.add_argument("--resend", type=own_mail, metavar="ORDER/EVENT", help="send an order's own mail again")
    what.add_argument("--seen", type=any_mail, metavar="MAIL", help="mark a parked mail as seen, so that it is no longer listed")
    what.add_argument(
        "--drop", type=dead_letter, metavar="QUEUE/MESSAGE", help="delete a dead letter, or all with this effect of a redrive"
    )
    parser.add_argument(
        "--sure",
        type=one_of("yes"),
        nargs="?",
        const="yes",
        help="with --resend: also a mail that SES accepted; with --drop: also a letter that a redrive would bring on",
    )
    parser.add_argument(
        "--sweep", type=one_of("now"), nargs="?", const="now", help="run the sweep now instead of within a minute"
    )
    asked = parser.parse_args(given)
    if asked.sure and not (asked.resend or asked.drop):
        parser.error("argument --sure: only with --resend or --drop")
    return asked


def days(value: str) -> int:
    """A number of days."""
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 3650:
        raise argparse.ArgumentTypeError("must be a whole number of days from 1 to 3650")
    return int(value)


def order(value: str) -> str:
    """An order's ID."""
    if not ORDER_ID.fullmatch(value):
        raise argparse.ArgumentTypeError("is not an order ID (ord_ and 26 characters)")
    return value


def own_mail(value: str) -> str:
    """An order's own mail."""
    if MAIL_ID.fullmatch(value) and not OWN_MAIL_ID.fullmatch(value):
        raise argparse.ArgumentTypeError(REQUESTED)
    if not OWN_MAIL_ID.fullmatch(value):
        events = ", ".join(MAILED_EVENTS)
        raise argparse.ArgumentTypeError(f"must be an order ID and an event, such as ord_…/OrderShipped; the events are {events}")
    return value


def any_mail(value: str) -> str:
    """A mail of the ledger."""
    if not MAIL_ID.fullmatch(value):
        raise argparse.ArgumentTypeError("must be a mail as it is listed, such as ord_…/OrderShipped")
    return value


def dead_letter(value: str) -> tuple[str, str]:
    """A queue and the ID of a dead letter in it, or an effect of a redrive."""
    queue, _, what = value.partition("/")
    if queue not in QUEUES or not (MESSAGE_ID.fullmatch(what) or what in DROPPABLE):
        effects = ", ".join(DROPPABLE)
        raise argparse.ArgumentTypeError(
            f"must be a queue ({', '.join(QUEUES)}) and a message as they are listed, or a queue and one of {effects}"
        )
    return queue, what


def now() -> int:
    """The time in milliseconds, as in the tables."""
    return time.time_ns() // 1_000_000


class Answer:
    """What an action prints, as lines or as JSON, and its exit code. `sentences` are the lines without tables."""

    def __init__(self, where: str) -> None:
        self.fields: dict[str, object] = {"where": where}
        self.lines: list[str] = []
        self.sentences: list[str] = []
        self.code = 0

    def add(self, line: str, *, failed: bool = False, **fields: object) -> None:
        self.lines.append(line)
        self.sentences.append(line)
        self.fields |= fields
        self.code = 1 if failed else self.code

    def letters(self, what: str, queue: str, moved: Moved) -> None:
        """The letters that were moved or dropped, those that were left, and how many were not received."""
        self.add(
            f"{what}: {len(moved.done)}. Left: {len(moved.left)}.",
            queue=queue,
            moved=len(moved.done),
            notReceived=moved.not_received,
            letters=[letter_json(*each) for each in moved.done],
            left=[letter_json(*each) for each in moved.left],
        )
        for title, some in (("Done", moved.done), ("Left", moved.left)):
            if some:
                self.lines += [f"{title}:", *table(LETTER_HEADS, [letter_row(queue, *each) for each in some])]

    def tell_missing(self, moved: Moved) -> None:
        """A queue is not done while letters of it were not received."""
        if moved.not_received:
            hidden = "Another reader hides them for up to a minute, or SQS's count is not up to date."
            self.add(f"Not received: {moved.not_received}. {hidden} Repeat the command in a minute.", failed=True)


def act(asked: argparse.Namespace, deployment: Deployment) -> Answer:
    """Runs the action."""
    answer = Answer(deployment.where)
    if asked.requeue:
        outcome = requeue(deployment.client("dynamodb"), deployment.output("OrdersTableName"), asked.requeue, now())
        answer.add(
            f"{asked.requeue} {outcome.value}.",
            failed=outcome is Requeued.UNKNOWN,
            orderId=asked.requeue,
            outcome=outcome.name.lower(),
        )
    elif asked.resend or asked.seen:
        act_on_mail(asked, deployment, answer)
    elif asked.redrive:
        queue = asked.redrive
        dead, alive = deployment.dead_letters(queue), deployment.queue(queue)
        moved = redrive(deployment.client("sqs"), dead, alive, effects_in(deployment, queue))
        answer.letters(f"Moved back to the {queue} queue", queue, moved)
        if moved.left:
            answer.add("What was left would return or do nothing. DROP=queue/message deletes it.")
        answer.tell_missing(moved)
    elif asked.drop:
        queue, what = asked.drop
        sqs, dead = deployment.client("sqs"), deployment.dead_letters(queue)
        dropped = drop(sqs, dead, what, effects_in(deployment, queue), sure=bool(asked.sure))
        answer.letters(f"Dropped from the {queue} queue's dead letters", queue, dropped)
        if dropped.left:
            answer.add(f"A redrive still does something with it: REDRIVE={queue}, or add SURE=yes.", failed=True)
        elif not dropped.done:
            answer.add("No such letter was received.", failed=True)
        answer.tell_missing(dropped)
    if asked.sweep and not answer.code:
        counts = sweep(deployment.physical_id("Sweep"), deployment.client("lambda"))
        answer.add("Swept: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + ".", sweep=counts)
    return answer


def act_on_mail(asked: argparse.Namespace, deployment: Deployment, answer: Answer) -> None:
    """Sends a mail again, or marks it as seen."""
    tables = Ledgers(deployment.client("dynamodb"), deployment.output("OrdersTableName"), deployment.output("EmailsTableName"))
    mail = asked.resend or asked.seen
    outcome = resend(tables, mail, now(), sure=bool(asked.sure)) if asked.resend else mark_as_seen(tables, mail, now())
    answer.add(f"{mail} {outcome.value}.", failed=not outcome.is_done, emailId=mail, outcome=outcome.name.lower())


def effects_in(deployment: Deployment, queue: str) -> Judge:
    """What redriving letters of this queue does."""
    return lambda letters: judge(deployment, queue, letters)


def run(asked: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    place = choose_aws(asked.on)
    is_action = any((asked.requeue, asked.redrive, asked.resend, asked.seen, asked.drop, asked.sweep))
    if is_action:
        require_choice(asked.on, place)
    deployment = Deployment(asked.stack, place)
    is_json = asked.format == "json"
    if is_action:
        # Before anything is changed.
        if not is_json:
            print(deployment.where, flush=True)
        answer = act(asked, deployment)
        print(json.dumps(answer.fields, indent=2) if is_json else "\n".join(answer.lines))
        return answer.code
    if not is_json:
        # Before anything is read: AWS may be slow, and the place may be another one than expected.
        print(f"Looking at {deployment.where} …", file=sys.stderr, flush=True)
    survey = take_survey(deployment, now(), asked.mails)
    print(as_json(survey) if is_json else text(survey))
    return NEEDS_ATTENTION if survey.troubles else 0


def main() -> int:
    try:
        return run(arguments(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    except Failure as failure:
        print(failure, file=sys.stderr)
    except ClientError as error:
        print(refusal(error), file=sys.stderr)
    except BotoCoreError as error:
        print(f"AWS could not be reached: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
