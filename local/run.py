"""`make run`: runs the pipeline on this machine until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator

from compiles import CompileErrors
from front import Front
from localaws import RUNNING
from partner import agree, stripe
from playground import Playground
from processes import Failure, alone, free_port, interruptible, require_free_port, run
from recorder import Recorder
from settings import Settings
from stack import ROOT, Stack, source_template

DIRECTORY = ROOT / ".local"

TRY = r"""
Ready in {seconds:.0f} s. In another terminal, place an order that runs to shipped:

  ORDER=$(curl -s {url}/api/order/cart.json -H 'content-type: application/json' \
    -H "Idempotency-Key: cart-$(date +%s)" -d '{{
    "customerId": "8080",
    "items": [
      {{"productId": "1234", "quantity": 2, "price": 50}},
      {{"productId": "2345", "quantity": 1, "price": 100}}
    ],
    "checkout": {{
      "name": "Lital Hay", "phone": "0545870006", "email": "lital@example.com",
      "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY", "currency": "{currency}"
    }}
  }}' | tee /dev/stderr | sed 's/.*"orderId":"\([^"]*\)".*/\1/')

  Its status:       curl -s {url}/api/order/$ORDER
  Its mails:        make mails
  All of that:      make demo
  Watch it live:    {console}
  Call the API:     {console}docs

The functions' logs: tail -f {log}
Saving a file reloads its function. Ctrl-C stops everything.
"""


def build() -> None:
    """Builds the functions with the profile and features of `cargo lambda watch`, showing progress."""
    if not shutil.which("cargo"):
        raise Failure("cargo is not on the PATH. Install Rust from https://rustup.rs, then run this again.")
    print("Building the functions …", flush=True)
    if run(["cargo", "build", "--bins"], ROOT):
        raise Failure("The functions do not compile. Fix the errors above, then run this again.")


@contextlib.contextmanager
def pipeline() -> Iterator[Stack]:
    """Builds the functions and runs a stack, as the environment's variables configure it."""
    settings = Settings.read(source_template(), os.environ)
    with contextlib.ExitStack() as running:
        running.enter_context(alone(DIRECTORY, f"http://127.0.0.1:{settings.port}"))
        require_free_port(settings.port, "PORT")
        require_free_port(settings.aws_port, "AWS_PORT")
        build()
        variables: dict[str, str] = {}
        double = settings.partner == "stripe" and not settings.stripe_key
        if double:
            variables = running.enter_context(stripe(DIRECTORY))
        elif settings.stripe_key:
            variables = settings.stripe_variables()
        print("Starting the local AWS, deploying template.yaml to it, starting the functions …", flush=True)
        recorder, watch = Recorder(), free_port()
        # It listens first: MiniStack calls the functions through it.
        front = running.enter_context(Front(settings.port, watch, recorder))
        stack = running.enter_context(
            Stack(
                watch,
                settings.aws_port,
                DIRECTORY,
                reload=True,
                variables=variables,
                parameters=settings.parameters,
                front=settings.port,
            )
        )
        console = Playground(stack, recorder)
        front.page, front.before, front.crash = console.answer, console.before, console.crash
        recorder.start(stack.aws, stack.directory / "functions.log")
        running.callback(recorder.stop)
        if double:
            agree(stack.url)
            print("Customer 8080 has a billing agreement. To see the calls to Stripe's double: tail -f .local/stripe.log")
        elif settings.stripe_key:
            print("Charges go to your Stripe test account. First store a billing agreement: docs/api.md, Billing agreements.")
        yield stack


def serve(stack: Stack, started: float) -> None:
    """Runs until interrupted or until a part of the stack stops."""
    print(
        TRY.format(
            seconds=time.monotonic() - started,
            url=stack.url,
            console=stack.url.replace("127.0.0.1", "localhost") + "/",
            aws=stack.aws.endpoint,
            log=(stack.directory / "functions.log").relative_to(ROOT),
            currency=stack.currency,
        ),
        flush=True,
    )
    RUNNING.write_text(json.dumps({"url": stack.url, "aws": stack.aws.endpoint, "currency": stack.currency}))
    errors = CompileErrors(stack.directory / "functions.log")
    try:
        while True:
            stack.check()
            for error in errors.new():
                print(f"{error}\n  Until this compiles, calls to its function wait.", file=sys.stderr, flush=True)
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
