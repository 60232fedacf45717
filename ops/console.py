"""`make console`: serves a deployed stack's console on loopback, with the operator's own credentials.

Read-only unless `--write` allows the operator's actions; without personal data unless `--personal` shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ages import OldestMessages
from deployment import Deployment, Failure, choose_aws, refusal, require_choice

# From local/, which `deployment` made importable.
from front import Front, Request, Response
from overdue import Parser, act, arguments, now, one_of
from processes import interruptible, require_free_port
from recorder import Recorder
from report import as_json, mail_json, moment
from survey import chunks, parked_lately, plain, take_survey
from work import ORDER_ID

PAGE = Path(__file__).resolve().parent / "page"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# The actions of `make ops-overdue` that the page offers.
ACTIONS = ("requeue", "redrive", "resend", "seen", "drop")
# How long what AWS was asked is shown before AWS is asked again, in seconds. The page polls more often.
FRESH = 10.0
# As the commands in the alarms' mails.
MAIL_DAYS = 7
# "DescribeAlarms", Amazon CloudWatch API Reference.
ALARM_NAMES = 100
UNREACHED = "AWS could not be reached."
HOSTS = ("localhost", "127.0.0.1", "[::1]")

# The attributes of an order that may be shown without `personal`.
SHOWN = (
    "orderId, #status, version, currency, subTotal, tax, #total, createdAt, dueStep, dueAt, dueTries, events, payment.#state, "
    "payment.attempt, payment.fence, payment.leaseUntil, payment.#reference, payment.declines, disputes, delivery, "
    "shipment.trackingNumber, shipment.carrier"
)
NAMES = {"#status": "status", "#state": "state", "#reference": "reference", "#total": "total"}
PROJECTION: dict[str, Any] = {"ProjectionExpression": SHOWN, "ExpressionAttributeNames": NAMES}


@dataclass
class Console:
    """What the page asks of a deployed stack."""

    deployment: Deployment
    writes: bool
    personal: bool

    # In seconds.
    fresh: float = FRESH

    def __post_init__(self) -> None:
        # When AWS was asked last, and what the page is shown since.
        self._asked_at = 0.0
        self._shown: dict[str, Any] = {}
        self._cloudwatch = self.deployment.client("cloudwatch")
        self._oldest = OldestMessages(self.deployment)

    def answer(self, request: Request, body: bytes) -> Response | None:
        """The answer to a request; None if no page has this path."""
        if refused := self._refused(request):
            return Response.of_json({"detail": refused}, 403)
        try:
            match request.method, request.segments:
                case "GET", [""]:
                    return file("index.html")
                case "GET", ["console", "page", name]:
                    return file(name)
                case "GET", ["console", "state"]:
                    return Response.of_json(self.state())
                case "GET", ["console", "parked-mails"]:
                    return Response.of_json(self.parked_mails())
                case "GET", ["console", "order", order] if ORDER_ID.fullmatch(order):
                    found = self.order(order)
                    return Response.of_json(found, 200 if found else 404)
                case "POST", ["console", action]:
                    return Response.of_json(self.act(action, json.loads(body or b"{}")))
                case _:
                    return None
        except Failure as failure:
            return Response.of_json({"detail": str(failure)}, 409)
        except ClientError as error:
            return Response.of_json({"detail": refusal(error)}, 502)
        except BotoCoreError:
            return Response.of_json({"detail": UNREACHED}, 502)
        except (ValueError, KeyError, TypeError):
            return Response.of_json({"detail": "The request cannot be read."}, 400)

    def _refused(self, request: Request) -> str | None:
        """Why a request is refused: another page may have sent it through the browser (DNS rebinding, request forgery)."""
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        if host not in HOSTS:
            return "The console answers on loopback only."
        # A read of the whole ledger has its price.
        has_effect = request.method == "POST" or request.segments == ["console", "parked-mails"]
        if has_effect and "x-console" not in request.headers:
            return "The console takes actions from its own page only."
        if request.method == "POST" and not self.writes:
            return "This console is read-only. Start it with WRITE=yes."
        return None

    def state(self) -> dict[str, Any]:
        """Everything on the first screen."""
        shown = self._shown
        if not shown or time.monotonic() - self._asked_at > self.fresh:
            survey = take_survey(self.deployment, now(), oldest=self._oldest)
            shown = {"attention": json.loads(as_json(survey)), **self.alarms()}
            self._shown, self._asked_at = shown, time.monotonic()
        orders = shown["attention"]["orders"]
        return {"mode": "aws", "writes": self.writes, "personal": self.personal, "orders": orders} | shown

    def alarms(self) -> dict[str, Any]:
        """The stack's alarms, those in alarm first; without the right to read them, why they are unknown."""
        try:
            some = chunks(self.deployment.alarm_names(), ALARM_NAMES)
            found = [alarm for names in some for alarm in self._described(names)]
        except ClientError as error:
            return {"alarms": None, "alarmsUnknown": refusal(error)}
        except BotoCoreError:
            return {"alarms": None, "alarmsUnknown": UNREACHED}
        return {"alarms": sorted(found, key=lambda alarm: (alarm["state"] != "ALARM", alarm["name"])), "alarmsUnknown": None}

    def _described(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"name": alarm["AlarmName"], "state": alarm["StateValue"], "description": alarm.get("AlarmDescription", "")}
            for page in self._cloudwatch.get_paginator("describe_alarms").paginate(AlarmNames=names)
            for alarm in page["MetricAlarms"]
        ]

    def parked_mails(self) -> dict[str, Any]:
        """The parked mails of the whole ledger, which an alarm's mail tells the operator to list."""
        at = now()
        mails = [mail_json(mail) for mail in parked_lately(self.deployment, at, MAIL_DAYS)]
        return {"at": moment(at), "writes": self.writes, "mails": mails}

    def order(self, order: str) -> dict[str, Any] | None:
        """One order's item, and its steps as far as they are known."""
        projection = {} if self.personal else PROJECTION
        answer = self.deployment.client("dynamodb").get_item(
            TableName=self.deployment.output("OrdersTableName"), Key={"orderId": {"S": order}}, ConsistentRead=True, **projection
        )
        if "Item" not in answer:
            return None
        item = plain(answer["Item"])
        events = sorted((item.get("events") or {}).items(), key=lambda event: event[1]["version"])
        steps = [
            {"number": number, "lane": "table", "title": kind, "at": record["at"], "end": record["at"], "outcome": "ok"}
            for number, (kind, record) in enumerate(events)
        ]
        return {"order": item, "steps": steps}

    def act(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        """One of the actions of `make ops-overdue`; `Failure` says why not."""
        if action not in ACTIONS or not isinstance(asked.get("what"), str):
            raise Failure("There is no such action.")
        given = [f"--{action}", asked["what"], *(["--sure", "yes"] if asked.get("sure") is True else [])]
        try:
            answer = act(arguments(given), self.deployment)
        except SystemExit:
            raise Failure(f"{asked['what']} is not what {action} takes.") from None
        self._shown = {}
        if answer.code:
            raise Failure(" ".join(answer.sentences))
        return {"said": answer.sentences[0]}


def file(name: str) -> Response | None:
    """A file of the page."""
    path = PAGE / name
    if path.parent != PAGE or path.suffix not in TYPES or not path.is_file():
        return None
    return Response(200, TYPES[path.suffix], path.read_bytes())


def options(given: Sequence[str]) -> argparse.Namespace:
    """The operator's options."""
    parser = Parser(description="Serve the console of a deployed stack on loopback.", allow_abbrev=False)
    parser.add_argument("--stack", default="orderflow", help="name of the CloudFormation stack")
    parser.add_argument("--on", type=one_of("local", "aws"), help="a running `make run`, or AWS by your settings")
    parser.add_argument("--port", type=int, default=9100, help="the console's port on loopback")
    for name, effect in (("--write", f"allow {', '.join(ACTIONS)}"), ("--personal", "show names, addresses, and carts")):
        parser.add_argument(name, type=one_of("yes"), nargs="?", const="yes", help=effect)
    return parser.parse_args(given)


def console_of(asked: argparse.Namespace) -> Console:
    """The console that the operator asked for."""
    place = choose_aws(asked.on)
    if asked.write:
        require_choice(asked.on, place)
    return Console(Deployment(asked.stack, place), writes=bool(asked.write), personal=bool(asked.personal))


def main() -> int:
    asked = options(sys.argv[1:])
    interruptible()
    try:
        console = console_of(asked)
        require_free_port(asked.port, "PORT")
        with Front(asked.port, None, Recorder()) as front:
            front.page = console.answer
            print(f"{console.deployment.where}: http://localhost:{asked.port}/ (Ctrl-C stops it)", flush=True)
            while True:
                time.sleep(0.5)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except Failure as failure:
        print(failure, file=sys.stderr)
    except ClientError as error:
        print(refusal(error), file=sys.stderr)
    except BotoCoreError as error:
        print(f"AWS could not be reached: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
