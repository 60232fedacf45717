"""Runs Stripe's double as a child process."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from processes import Child, Failure, run, wait_until

ROOT = Path(__file__).resolve().parent.parent
# The double's own keys (tests/src/bin/stripe-double.rs); they belong to no account.
SECRETS = {
    "PARTNER_SECRET": json.dumps({"apiKey": "sk_test_played"}),
    "PARTNER_WEBHOOK_SECRET": json.dumps({"webhookSecret": "whsec_played"}),
}
AGREEMENT = {
    "customerId": "8080",
    "partner": "stripe",
    "partnerCustomerId": "cus_played",
    "paymentMethodId": "pm_card_visa",
}


@contextlib.contextmanager
def stripe(directory: Path) -> Iterator[dict[str, str]]:
    """Runs the double; yields the variables that point the functions at it."""
    print("Building Stripe's double …", flush=True)
    if run(["cargo", "build", "--package", "tests", "--bin", "stripe-double"], ROOT):
        raise Failure("Stripe's double does not compile. Fix the errors above, then run this again.")
    log = directory / "stripe.log"
    double = Child("Stripe's double", [str(ROOT / "target" / "debug" / "stripe-double")], {}, log)
    try:
        wait_until("Starting Stripe's double", lambda: "\n" in log.read_text(), 10, [double])
        address = log.read_text().splitlines()[0]
        yield {"BILLING_PARTNER": "stripe", "STRIPE_URL": address} | SECRETS
    finally:
        double.stop()


def agree(url: str) -> None:
    """Approves a billing agreement for the example's customer."""
    request = urllib.request.Request(
        f"{url}/api/customer/billing.json", json.dumps(AGREEMENT).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=30).close()
