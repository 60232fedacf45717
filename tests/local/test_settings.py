"""What `make run` makes of its variables: each is honoured or refused in a sentence, before anything starts."""

from __future__ import annotations

import json
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

from processes import Failure  # noqa: E402  (the path above makes it importable)
from settings import Settings, by_variable  # noqa: E402
from stack import source_template, watch_command  # noqa: E402

TEMPLATE = source_template()
SHOP = {
    "CARRIER": "easypost",
    "SHIP_FROM": '{"company":"Shop"}',
    "PARCEL": '{"length":10}',
    "CARRIER_SECRET": '{"apiKey":"EZTK1"}',
}


def settings(**given: str) -> Settings:
    return Settings.read(TEMPLATE, {"PATH": "/bin", "HOME": "/", **given})


class TestSettings(unittest.TestCase):
    def refused(self, **given: str) -> str:
        with self.assertRaises(Failure) as failure:
            settings(**given)
        return str(failure.exception)

    def test_without_variables_the_templates_defaults_hold(self) -> None:
        plain = settings()
        self.assertEqual(plain.parameters, {})
        self.assertEqual((plain.partner, plain.stripe_key, plain.port, plain.aws_port), ("sandbox", None, 9000, 4566))
        self.assertEqual(settings(CURRENCY="", PARTNER="", PORT=""), plain)

    def test_every_variable_of_the_configurations_table_is_a_parameter(self) -> None:
        table = re.findall(r"(?m)^\| `(\w+)` \| [^|]*\| `([A-Z_]+)` \|", (ROOT / "docs/configuration.md").read_text())
        self.assertEqual({variable: parameter for parameter, variable in table}, by_variable(TEMPLATE))

    def test_variables_become_parameters(self) -> None:
        given = {"TAX_RATE": "0.2", "TAX_MODE": "included", "CURRENCY": "EUR", "SENDER_EMAIL": "a@b.example", "STAGE": "mine"}
        self.assertEqual(
            settings(**given).parameters,
            {"TaxRate": "0.2", "TaxMode": "included", "Currency": "EUR", "SenderEmail": "a@b.example", "Stage": "mine"},
        )

    def test_a_laptop_is_no_production(self) -> None:
        for stage in ("prod", "production", "live"):
            said = self.refused(STAGE=stage)
            self.assertIn(f"STAGE={stage}", said)
            self.assertIn("reserved for deployments that move money", said)

    def test_pages_may_call_only_where_origins_are_given(self) -> None:
        self.assertNotIn("AllowedOrigins", settings().parameters)
        self.assertIn("--disable-cors", watch_command(9000, reload=True, browsers=False))
        for origins in ("*", "https://shop.example", "https://shop.example,http://localhost:3000"):
            self.assertEqual(settings(ALLOWED_ORIGINS=origins).parameters, {"AllowedOrigins": origins})
        self.assertNotIn("--disable-cors", watch_command(9000, reload=True, browsers=True))
        for wrong in (
            "shop.example",
            "https://shop.example/",
            "https://a.example, https://b.example",
            "https://*.a.example",
            "null",
        ):
            self.assertIn(f"ALLOWED_ORIGINS={wrong}", self.refused(ALLOWED_ORIGINS=wrong))

    def test_the_backends_scope_is_one_scope(self) -> None:
        for scope in ("orderflow/backend", "api://1b2c/orders.write", "urn:shop:backend"):
            self.assertEqual(settings(BACKEND_SCOPE=scope).parameters, {"BackendScope": scope})
        for wrong in ("a b", "[a]", "a]", "a,b", '"a"', "a\\b", "ü"):
            self.assertIn(f"BACKEND_SCOPE={wrong}", self.refused(BACKEND_SCOPE=wrong))

    def test_a_value_that_does_not_fit_is_refused_by_its_name(self) -> None:
        for variable, value, help_ in (
            ("TAX_RATE", "20", "Tax rate between 0 and 1"),
            ("TAX_MODE", "none", "of-total, included, added"),
            ("CURRENCY", "euro", "ISO 4217"),
            ("UNPAID_ORDER_DAYS", "366", "0 to 365"),
            ("SENDER_EMAIL", "orders", "Sender address of the mails"),
            ("CARRIER", "dhl", "own, easypost"),
            ("PARTNER", "paypal", "sandbox or stripe"),
            ("BILLING_PARTNER", "paypal", "sandbox or stripe"),
            ("PORT", "80", "from 1024 to 65535"),
            ("AWS_PORT", "x", "from 1024 to 65535"),
        ):
            with self.subTest(variable):
                said = self.refused(**{variable: value})
                self.assertIn(f"{variable}={value}", said)
                self.assertIn(help_, said)

    def test_the_partner_has_two_names_and_one_value(self) -> None:
        self.assertEqual(settings(BILLING_PARTNER="stripe"), settings(PARTNER="stripe"))
        self.assertIn("BILLING_PARTNER=sandbox", self.refused(PARTNER="stripe", BILLING_PARTNER="sandbox"))

    def test_a_key_of_stripes_test_mode_bills_there_and_a_live_one_is_refused_unseen(self) -> None:
        own = settings(PARTNER="stripe", STRIPE_KEY="sk_test_1", STRIPE_WEBHOOK_SECRET="whsec_1")
        self.assertEqual(own.stripe_variables()["BILLING_PARTNER"], "stripe")
        self.assertEqual(json.loads(own.stripe_variables()["PARTNER_SECRET"]), {"apiKey": "sk_test_1"})
        self.assertEqual(json.loads(own.stripe_variables()["PARTNER_WEBHOOK_SECRET"]), {"webhookSecret": "whsec_1"})
        # Without a secret the webhook function believes nobody.
        without = settings(PARTNER="stripe", STRIPE_KEY="sk_test_1")
        nobody = [without.stripe_variables()["PARTNER_WEBHOOK_SECRET"] for _ in range(2)]
        self.assertTrue(json.loads(nobody[0])["webhookSecret"].startswith("whsec_"))
        self.assertNotEqual(*nobody)
        said = self.refused(PARTNER="stripe", STRIPE_KEY="sk_live_very_secret")
        self.assertIn("sk_test_", said)
        self.assertNotIn("very_secret", said)
        self.assertIn("PARTNER=stripe", self.refused(STRIPE_KEY="sk_test_1"))

    def test_easypost_needs_what_it_cannot_do_without(self) -> None:
        self.assertEqual(settings(**SHOP).parameters["Carrier"], "easypost")
        for missing in ("SHIP_FROM", "PARCEL", "CARRIER_SECRET"):
            given = {name: value for name, value in SHOP.items() if name != missing}
            self.assertIn(missing, self.refused(**given))

    def test_a_variable_that_nothing_reads_is_refused_where_make_was_given_it(self) -> None:
        for flags, unknown in (
            ("s -- TAXRATE=0.2", "TAXRATE"),
            (" -- CURRENCY=EUR tax_rate=0.2", "tax_rate"),
            ("--no-print-directory -- PARTNER:=stripe STRIPEKEY=x", "STRIPEKEY"),
        ):
            self.assertIn(f"make run knows no {unknown}. ", self.refused(MAKEFLAGS=flags))
        for flags in ("", "s", "w -- CURRENCY=EUR PORT=9001 LOG_LEVEL=debug", r' -- SHIP_FROM={"name":\ "x=1"}'):
            settings(MAKEFLAGS=flags)


if __name__ == "__main__":
    unittest.main()
