"""`make demo`: follows one order from its cart to its shipment and saves its mails."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import time
import urllib.request
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Any

from localaws import running, sent_mails
from processes import Failure, interruptible
from run import DIRECTORY, pipeline
from sample import cart
from stack import ROOT

PATIENCE = 60
MAILS = DIRECTORY / "mails"


@contextlib.contextmanager
def running_pipeline() -> Iterator[tuple[str, str, str]]:
    """The addresses of the API and the local AWS, and the currency, of a running `make run` or of a pipeline for this demo."""
    if found := running():
        yield found["url"], found["aws"], found["currency"]
        return
    with pipeline() as stack:
        yield stack.url, stack.aws.endpoint, stack.currency


def call(url: str, body: object = None) -> dict[str, Any]:
    """Calls the API, by POST with a new idempotency key if there is a body, else by GET. Returns the JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    # Letters only: some UUIDs have enough digits to look like a card number.
    key = {} if body is None else {"Idempotency-Key": f"demo-{''.join(secrets.choice(ascii_lowercase) for _ in range(26))}"}
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | key)
    with urllib.request.urlopen(request, timeout=30) as answer:
        said: dict[str, Any] = json.load(answer)
        return said


def follow(url: str, order: str, started: float) -> str:
    """Prints each status that the order reaches; returns the last one."""
    seen = ""
    while time.monotonic() - started < PATIENCE:
        try:
            status = call(f"{url}/api/order/{order}")["status"]
        except OSError:
            # Saving a file restarts the functions; the order continues.
            time.sleep(0.5)
            continue
        if status != seen:
            print(f"  {time.monotonic() - started:6.2f} s  {status}", flush=True)
            seen = status
        if status == "shipped":
            break
        time.sleep(0.05)
    return seen


def await_mails(aws: str, known: set[str], started: float) -> list[dict[str, Any]]:
    """The mails sent since `known`: three, or fewer after `PATIENCE` seconds."""
    while True:
        mails = [mail for mail in sent_mails(aws) if mail["MessageId"] not in known]
        if len(mails) >= 3 or time.monotonic() - started > PATIENCE:
            return mails
        time.sleep(0.1)


def demo(url: str, aws: str, currency: str) -> None:
    known = {mail["MessageId"] for mail in sent_mails(aws)}
    started = time.monotonic()
    body = cart(currency)
    print(f"POST {url}/api/order/cart.json\n{json.dumps(body, indent=2)}\n")
    placed = call(f"{url}/api/order/cart.json", body)
    print(f"{json.dumps(placed, indent=2)}\n")
    order = placed["orderId"]
    print(f"Watch it: {url.replace('127.0.0.1', 'localhost')}/#/order/{order}\n")
    reached = follow(url, order, started)
    mails = await_mails(aws, known, started)
    print(f"\n{json.dumps(call(f'{url}/api/order/{order}'), indent=2)}\n\nMails:")
    MAILS.mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails, 1):
        file = MAILS / f"{order}-{number}.html"
        file.write_text(mail["BodyHtml"])
        print(f"  {mail['Subject']}\n    {file.relative_to(ROOT)}")
    if reached != "shipped" or len(mails) != 3:
        raise Failure(
            f"After {PATIENCE} s the order is {reached} with {len(mails)} mails; expected shipped with 3. See the logs in .local."
        )
    print(f"\nShipped with 3 mails in {time.monotonic() - started:.1f} s.")


def main() -> int:
    interruptible()
    try:
        with running_pipeline() as found:
            demo(*found)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 1
    except (Failure, OSError) as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
