"""`make run`: the pipeline on this machine until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator

from localaws import RUNNING
from partner import agree, stripe
from processes import Failure, require_free_port, run
from stack import ROOT, Stack

DIRECTORY = ROOT / ".local"

TRY = """
Ready in {seconds:.0f} s. Place an order that goes all the way to shipped; sent again it is the same order, with another
key it is another:

  curl -s {url}/api/order/cart.json -H 'content-type: application/json' -H 'Idempotency-Key: basket-1' -d '{{
    "customerId": "8080",
    "items": [
      {{"productId": "1234", "quantity": 2, "price": 50}},
      {{"productId": "2345", "quantity": 1, "price": 100}}
    ],
    "checkout": {{
      "name": "Lital Hay", "phone": "0545870006", "email": "lital@example.com",
      "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY", "currency": "USD"
    }}
  }}'

  curl -s {url}/api/order/<orderId>              where it stands
  curl -s {aws}/_ministack/ses/messages    its mails
  make demo                                            all of that, in another terminal

The functions' logs: tail -f {log}
A saved file is live again. Ctrl-C stops everything.
"""


def port(variable: str, default: int) -> int:
    """A port from the environment."""
    value = os.environ.get(variable, str(default))
    if not value.isdigit() or not 1024 <= int(value) <= 65535:
        raise Failure(f"{variable}={value} is not a port between 1024 and 65535.")
    return int(value)


def build() -> None:
    """Compiles what `cargo lambda watch` runs, by the same profile and features, with progress on the terminal."""
    if not shutil.which("cargo"):
        raise Failure("cargo is not on the PATH. Install Rust from https://rustup.rs, then run this again.")
    print("Building the functions …", flush=True)
    if run(["cargo", "build", "--bins"], ROOT):
        raise Failure("The functions do not compile; cargo says why above.")


@contextlib.contextmanager
def pipeline() -> Iterator[Stack]:
    """A running stack on the ports and with the partner that the environment asks for, after a build."""
    partner = os.environ.get("PARTNER") or "sandbox"
    if partner not in ("sandbox", "stripe"):
        raise Failure(f"PARTNER={partner} is none that runs on a laptop: sandbox or stripe (its double).")
    http, aws = port("PORT", 9000), port("AWS_PORT", 4566)
    require_free_port(http, "PORT")
    require_free_port(aws, "AWS_PORT")
    build()
    with contextlib.ExitStack() as running:
        variables = running.enter_context(stripe(DIRECTORY)) if partner == "stripe" else {}
        print("Starting the local AWS, deploying template.yaml to it, starting the functions …", flush=True)
        stack = running.enter_context(Stack(http, aws, DIRECTORY, reload=True, variables=variables))
        if partner == "stripe":
            agree(stack.url)
            print("Customer 8080 has agreed to be charged. What Stripe's double is asked: tail -f .local/stripe.log")
        yield stack


def interruptible() -> None:
    """Makes SIGTERM stop as cleanly as Ctrl-C, and lets neither disturb the stopping."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)


def serve(stack: Stack, started: float) -> None:
    """Runs until interrupted or until a part of the stack dies."""
    print(
        TRY.format(
            seconds=time.monotonic() - started,
            url=stack.url,
            aws=stack.aws.endpoint,
            log=(stack.directory / "functions.log").relative_to(ROOT),
        ),
        flush=True,
    )
    RUNNING.write_text(json.dumps({"url": stack.url, "aws": stack.aws.endpoint}))
    try:
        while True:
            stack.check()
            time.sleep(0.5)
    finally:
        RUNNING.unlink()


def main() -> int:
    started = time.monotonic()
    interruptible()
    try:
        with pipeline() as stack:
            serve(stack, started)
    except KeyboardInterrupt:
        print("\nStopped.")
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
