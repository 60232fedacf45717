"""Which wishes `make ops-overdue` and `make console` take: an unknown value is refused in a sentence, never ignored."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import unittest
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

import console  # noqa: E402  (the path above makes it importable)
from overdue import arguments  # noqa: E402

ORDER = "ord_01JDB4XK00EXAMPVE0RDER0001"
EVENTS = (
    "InvoiceCreated, PaymentProcessed, OrderShipped, ParcelOutForDelivery, ParcelAvailableForPickup, ParcelDelivered"
    ", ParcelReturned, PaymentRefunded, OrderCancelled"
)
MAIL = f"must be an order ID and an event, such as ord_…/OrderShipped; the events are {EVENTS}"
REQUESTED = (
    "is a mail that the shop requested, and only the shop can have it sent. If it failed, repeat the request with the same"
    " key and body. If it is unconfirmed and names no order, send the request with a new key"
)
LETTER = (
    "a queue (billing, payment, shipment, email, feedback) and a message as they are listed, "
    "or a queue and one of nothing, too_early, unknown_order, unreadable"
)


def refusal(*given: str, parse: Callable[[Sequence[str]], object] = arguments) -> str:
    """What is said about a refused call; it must end with 2, "called wrongly"."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parse(given)
    except SystemExit as ended:
        assert ended.code == 2, ended.code
        return said.getvalue()
    raise AssertionError(f"{given} was taken")


def by_make(*variables: str, target: str = "ops-overdue", script: str = "overdue.py") -> list[str]:
    """The arguments that make hands on, without calling anything."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    dry = ["make", "--dry-run", "--always-make", "--assume-old=tools", target, *variables]
    said = subprocess.run(dry, cwd=ROOT, env=clean, capture_output=True, text=True, check=True).stdout
    [call] = [line for line in said.replace("\\\n", " ").splitlines() if f"ops/{script}" in line]
    given = call.split(script, 1)[1]
    return subprocess.run(["sh", "-c", f"printf '%s\\n' {given}"], capture_output=True, text=True, check=True).stdout.split()


class TestArguments(unittest.TestCase):
    def test_what_is_not_known_is_refused_with_what_is(self) -> None:
        for option, value, known in (
            ("format", "xml", "must be text or json, not 'xml'"),
            ("on", "azure", "must be local or aws, not 'azure'"),
            ("redrive", "payments", "must be billing, payment, shipment, email or feedback, not 'payments'"),
            ("sweep", "no", "must be now, not 'no'"),
            ("requeue", "8080", "is not an order ID (ord_ and 26 characters)"),
            ("resend", "8080", MAIL),
            (
                "resend",
                f"{ORDER}/CartUpdated",
                MAIL,
            ),
            ("resend", "request/0af7", REQUESTED),
            ("resend", f"{ORDER}/OrderShipped/{'0a' * 32}", REQUESTED),
            ("seen", "x", "must be a mail as it is listed, such as ord_…/OrderShipped"),
            ("drop", "payments/nothing", f"must be {LETTER}"),
            ("drop", "payment/try_again", f"must be {LETTER}"),
            ("drop", "payment", f"must be {LETTER}"),
            ("sure", "no", "must be yes, not 'no'"),
            ("sure", "yes", "only with RESEND (--resend) or DROP (--drop)"),
            ("mails", "0", "must be a whole number of days from 1 to 3650"),
        ):
            with self.subTest(option):
                said = refusal(f"--{option}", value)
                self.assertEqual(said, f"{option.upper()} (--{option}): {known}\n")

    def test_two_wishes_at_once_are_refused(self) -> None:
        said = refusal("--requeue", ORDER, "--redrive", "email")
        self.assertEqual(said, "REDRIVE (--redrive): not allowed with REQUEUE (--requeue)\n")

    def test_an_unknown_option_is_refused_also_where_it_begins_like_a_known_one(self) -> None:
        self.assertIn("unrecognized", refusal("--mail", "7"))

    def test_wishes_are_taken(self) -> None:
        plain = arguments([])
        self.assertEqual((plain.format, plain.on, plain.sweep, plain.stack), ("text", None, None, "orderflow"))
        self.assertEqual(arguments(["--json"]), arguments(["--format", "json"]))
        self.assertEqual(arguments(["--sweep"]), arguments(["--sweep", "now"]))
        self.assertEqual(arguments(["--requeue", ORDER, "--sweep"]).requeue, ORDER)

    def test_mails_and_letters_are_taken_as_they_are_listed(self) -> None:
        message = "0af76519-16cd-43dd-8448-eb211c80319c"
        for value, read in ((f"email/{message}", ("email", message)), ("billing/unreadable", ("billing", "unreadable"))):
            self.assertEqual(arguments(["--drop", value]).drop, read)
        for mail in (f"{ORDER}/OrderShipped", f"{ORDER}/OrderShipped/{'0a' * 32}", "request/0af7"):
            self.assertEqual(arguments(["--seen", mail]).seen, mail)
        asked = arguments(["--resend", f"{ORDER}/OrderShipped", "--sure", "yes"])
        self.assertEqual((asked.resend, asked.sure), (f"{ORDER}/OrderShipped", "yes"))

    def test_make_refuses_a_variable_that_it_does_not_know(self) -> None:
        for variable in ("REDRVE=email", "Stack=mine", "resend=x"):
            said = subprocess.run(
                ["make", "--dry-run", "ops-overdue", variable], cwd=ROOT, capture_output=True, text=True, check=False
            )
            self.assertEqual(said.returncode, 2, said)
            self.assertIn(f"make ops-overdue knows no {variable.partition('=')[0]}", said.stderr)

    def test_make_hands_every_value_on_as_it_is(self) -> None:
        for variable, value in (
            ("FORMAT", "xml"),
            ("ON", "azure"),
            ("REDRIVE", "payments"),
            ("SWEEP", "no"),
            ("REQUEUE", "8080"),
            ("MAILS", "0"),
            ("RESEND", "8080"),
            ("SEEN", "8080"),
            ("DROP", "payment/x"),
            ("SURE", "no"),
            ("STACK", "mine"),
        ):
            with self.subTest(variable):
                self.assertEqual(by_make(f"{variable}={value}"), [f"--{variable.lower()}", value])
        self.assertEqual(by_make(), [])

    def test_the_console_grants_only_what_a_yes_allows(self) -> None:
        for option in ("write", "personal"):
            for value in ("no", "YES", "1", "", " "):
                said = refusal(f"--{option}", value, parse=console.options)
                self.assertEqual(said, f"{option.upper()} (--{option}): must be yes, not {value!r}\n")
            self.assertEqual(getattr(console.options([f"--{option}", "yes"]), option), "yes")
            self.assertEqual(console.options([f"--{option}"]), console.options([f"--{option}", "yes"]))
            self.assertIsNone(getattr(console.options([]), option))

    def test_make_hands_every_value_of_the_console_on_as_it_is(self) -> None:
        for variable, value in (("WRITE", "no"), ("PERSONAL", "no"), ("ON", "azure"), ("PORT", "x"), ("STACK", "mine")):
            with self.subTest(variable):
                given = by_make(f"{variable}={value}", target="console", script="console.py")
                self.assertEqual(given, [f"--{variable.lower()}", value])
        self.assertEqual(by_make(target="console", script="console.py"), [])


if __name__ == "__main__":
    unittest.main()
