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

from actions import Requeued, redrive, requeue, sweep
from deployment import Deployment, Failure, choose_aws
from report import as_json, text
from survey import take_survey
from work import ORDER_ID, QUEUES

NEEDS_ATTENTION = 3


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
    what.add_argument("--redrive", type=one_of(*QUEUES), metavar="QUEUE", help="move the dead letters of this queue back to it")
    parser.add_argument(
        "--sweep", type=one_of("now"), nargs="?", const="now", help="run the sweep now instead of within a minute"
    )
    return parser.parse_args(given)


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


def now() -> int:
    """The time in milliseconds, as in the tables."""
    return time.time_ns() // 1_000_000


def run(asked: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    deployment = Deployment(asked.stack, choose_aws(asked.on))
    said: dict[str, object] = {"where": deployment.where}
    lines = [deployment.where]
    code = 0
    if asked.requeue:
        outcome = requeue(deployment.client("dynamodb"), deployment.output("OrdersTableName"), asked.requeue, now())
        said |= {"orderId": asked.requeue, "outcome": outcome.name.lower()}
        lines.append(f"{asked.requeue} {outcome.value}.")
        code = 1 if outcome is Requeued.UNKNOWN else 0
    elif asked.redrive:
        moved = redrive(deployment.client("sqs"), deployment.dead_letters(asked.redrive), deployment.queue(asked.redrive))
        said |= {"queue": asked.redrive, "moved": moved}
        lines.append(f"Moved back to the {asked.redrive} queue: {moved}.")
    if asked.sweep and not code:
        counts = sweep(deployment.physical_id("Sweep"), deployment.client("lambda"))
        said["sweep"] = counts
        lines.append("Swept: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + ".")
    if len(lines) > 1:
        print(json.dumps(said, indent=2) if asked.format == "json" else "\n".join(lines))
        return code
    survey = take_survey(deployment, now(), asked.mails)
    print(as_json(survey) if asked.format == "json" else text(survey))
    return NEEDS_ATTENTION if survey.troubles else 0


def main() -> int:
    try:
        return run(arguments(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    except Failure as failure:
        print(failure, file=sys.stderr)
    except ClientError as error:
        refusal = error.response["Error"]
        print(f"AWS refused {error.operation_name}: {refusal.get('Message') or refusal['Code']}", file=sys.stderr)
    except BotoCoreError as error:
        print(f"AWS could not be reached: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
