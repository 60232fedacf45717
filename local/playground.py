"""The console of `make run`: what the operator's console shows, and besides steps, mails, the sandbox's ledger, and faults."""

from __future__ import annotations

import json
import re
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))

# The path above makes ops/ importable.
import reference
from actions import sweep
from console import Console
from deployment import Deployment, Failure, point_at
from front import Request, Response, logical_id
from recorder import Recorder, Step
from sample import cart
from stack import ROOT, Stack

SNAPSHOTS = ROOT / "functions" / "email" / "src" / "snapshots"
SNAPSHOT = re.compile(r"email__mail__tests__(\w+)_(full|minimal)\.snap")
# A file of this name in the sandbox's ledger makes the sandbox refuse every call.
THROTTLED = "throttled"
# What can happen to the next invocation of a Lambda.
ONCE = ("kill", "lose", "double")
WORKERS = ("BillingWorker", "PaymentWorker", "ShipmentWorker", "EmailWorker", "Relay")

CUSTOMERS = {
    "8080": "is charged at once",
    "sandbox-insufficient-funds": "every attempt is declined, and may be retried",
    "sandbox-stolen-card": "every attempt is declined permanently",
    "sandbox-declined-once": "the first attempt is declined, the second succeeds",
    "sandbox-action-required": "the customer must act",
    "sandbox-pending": "pending for 60 seconds, then charged",
    "sandbox-timeout": "the partner's answer is lost",
    "sandbox-outage": "the partner is down",
}


class Playground(Console):
    """The page's counterpart on a developer's machine. Everything is shown: the data are the developer's own."""

    def __init__(self, stack: Stack, recorder: Recorder) -> None:
        super().__init__(Deployment("orderflow", point_at(stack.aws.endpoint)), writes=True, personal=True, fresh=1.0)
        self._stack, self._recorder = stack, recorder
        self._lock = threading.Lock()
        # The fault of the next invocation, by Lambda.
        self._armed: dict[str, str] = {}
        self._stream_stopped = False

    def answer(self, request: Request, body: bytes) -> Response | None:
        # First the console: it refuses what another page sends.
        return super().answer(request, body) or self._own_page(request)

    def _own_page(self, request: Request) -> Response | None:
        match request.method, request.segments:
            case "GET", ["console", "mail", number]:
                return self._mail(number)
            case "GET", ["console", "preview", name]:
                return preview(name)
            case "GET", ["docs", *_] | ["openapi.yaml"]:
                return reference.answer(request)
            case _:
                return None

    def state(self) -> dict[str, Any]:
        shown = super().state()
        with self._lock:
            faults = {"armed": dict(self._armed), "streamStopped": self._stream_stopped, "throttled": self._throttle().exists()}
        return shown | {
            "mode": "local",
            "orders": [summary(item) for item in self._recorder.orders()[:500]],
            "ledger": self._ledger(),
            "mails": [
                {
                    "id": mail["MessageId"],
                    "to": mail.get("To"),
                    "subject": mail.get("Subject"),
                    "at": int(mail["Timestamp"] * 1000),
                }
                for mail in self._recorder.mails[-200:]
            ],
            "faults": faults,
            "workers": WORKERS,
            "customers": CUSTOMERS,
            "cart": cart(self._stack.currency),
            "previews": sorted(
                name[1] + "_" + name[2] for path in SNAPSHOTS.glob("*.snap") if (name := SNAPSHOT.fullmatch(path.name))
            ),
        }

    def order(self, order: str) -> dict[str, Any] | None:
        item = self._recorder.order(order)
        steps = self._recorder.steps(order)
        if item is None and not steps:
            return super().order(order)
        lines = self._recorder.lines(order)
        return {
            "order": item,
            "steps": [shown(step) for step in steps],
            "lines": [{"at": line.at, "service": line.service, "fields": line.fields} for line in lines],
        }

    def act(self, action: str, asked: dict[str, Any]) -> dict[str, Any]:
        match action:
            case "fault":
                return {"said": self._fault(str(asked["kind"]), str(asked.get("function", "")))}
            case "heal":
                with self._lock:
                    self._armed.clear()
                    self._stream_stopped = False
                self._throttle().unlink(missing_ok=True)
                return {"said": "No fault is armed."}
            case "sweep":
                counts = sweep(self.deployment.physical_id("Sweep"), self.deployment.client("lambda"))
                return {"said": "Swept: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "."}
            case _:
                return super().act(action, asked)

    def before(self, function: str, _binary: str, _event: bytes) -> str | None:
        """The fault of an invocation that is about to begin. A fault that was armed once is used up."""
        name = logical_id(function)
        with self._lock:
            if name == "Relay" and self._stream_stopped:
                return "refuse"
            return self._armed.pop(name, None)

    def crash(self) -> None:
        """Kills every function at once, as a crash does, and starts them again."""
        functions = self._stack.functions
        if functions:
            functions.kill()
            self._stack.restart_functions()

    def _fault(self, kind: str, function: str) -> str:
        if kind == "stream":
            with self._lock:
                self._stream_stopped = not self._stream_stopped
            return "The relay refuses the stream's batches." if self._stream_stopped else "The stream runs again."
        if kind == "throttle":
            file = self._throttle()
            if file.exists():
                file.unlink()
                return "The sandbox answers again."
            file.touch()
            return "The sandbox refuses every call."
        if kind not in ONCE or function not in WORKERS:
            raise Failure("There is no such fault.")
        with self._lock:
            self._armed[function] = kind
        return f"Armed: {kind} at the next invocation of {function}."

    def _throttle(self) -> Path:
        return self._stack.ledger / THROTTLED

    def _ledger(self) -> list[dict[str, Any]]:
        files = sorted(self._stack.ledger.glob("*.json"), key=lambda path: path.stat().st_mtime)
        return [json.loads(path.read_text()) for path in files[-500:]]

    def _mail(self, number: str) -> Response:
        for mail in self._recorder.mails:
            if mail["MessageId"] == number:
                shown = {name: mail.get(name) for name in ("To", "Subject", "Timestamp", "BodyText", "BodyHtml")}
                return Response.of_json(shown)
        return Response.of_json({"detail": "There is no such mail."}, 404)


def summary(item: dict[str, Any]) -> dict[str, Any]:
    """What the list shows of an order."""
    payment = item.get("payment") or {}
    due = None
    if "dueStep" in item:
        due = {"step": str(item["dueStep"]).partition("#")[0], "at": item["dueAt"], "tries": item.get("dueTries", 0)}
    return {
        "orderId": item["orderId"],
        "customerId": item.get("customerId"),
        "reference": item.get("reference"),
        "status": item.get("status"),
        "payment": payment.get("state"),
        "total": str(item.get("total")),
        "currency": item.get("currency"),
        "createdAt": item.get("createdAt"),
        "due": due,
    }


def shown(step: Step) -> dict[str, Any]:
    """A step as the page reads it."""
    return {
        "number": step.number,
        "lane": step.lane,
        "title": step.title,
        "at": step.at,
        "end": step.end,
        "outcome": step.outcome,
        "service": step.service,
        "detail": step.detail,
    }


def preview(name: str) -> Response:
    """A kind of mail with edge values, as the mail's own tests keep it."""
    path = SNAPSHOTS / f"email__mail__tests__{name}.snap"
    if path.parent != SNAPSHOTS or not SNAPSHOT.fullmatch(path.name) or not path.is_file():
        return Response.of_json({"detail": "There is no such mail."}, 404)
    content = path.read_text().split("---\n", 2)[2]
    text, _, html = content.partition("<!DOCTYPE html>")
    subject, _, body = text.partition("\n\n")
    return Response.of_json(
        {"Subject": subject.removeprefix("Subject: "), "BodyText": body.strip(), "BodyHtml": "<!DOCTYPE html>" + html}
    )
