"""Which AWS is asked: never an account when a local stack was meant, and never by an account's keys a local one."""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ops"))

# The path above makes it importable.
import deployment

LOCAL = "http://127.0.0.1:4566"
ACCOUNT = {"AWS_PROFILE": "shop", "AWS_REGION": "eu-central-1", "AWS_SESSION_TOKEN": "secret"}


def chosen(on: str | None, *, runs: bool, **settings: str) -> tuple[str, dict[str, str]]:
    """What is chosen, and the AWS settings that the clients then see."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    addresses = {"url": "http://127.0.0.1:9000", "aws": LOCAL} if runs else None
    with patch.dict(os.environ, others | ACCOUNT | settings, clear=True), patch.object(deployment, "running", lambda: addresses):
        place = deployment.choose_aws(on)
        return place, {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


class TestChoice(unittest.TestCase):
    def test_a_local_stack_sees_none_of_the_callers_settings(self) -> None:
        local = chosen("local", runs=True)
        self.assertEqual(local[0], f"at {LOCAL}")
        self.assertEqual((local[1]["AWS_ENDPOINT_URL"], local[1]["AWS_ACCESS_KEY_ID"]), (LOCAL, "test"))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            self.assertNotIn(name, local[1])
        self.assertEqual(chosen(None, runs=True), local)
        self.assertEqual(chosen(None, runs=False, AWS_ENDPOINT_URL=LOCAL), local)

    def test_without_a_local_stack_the_callers_settings_hold(self) -> None:
        self.assertEqual(chosen(None, runs=False), ("", ACCOUNT))

    def test_a_choice_holds_whatever_runs(self) -> None:
        self.assertEqual(chosen("aws", runs=True), ("", ACCOUNT))
        with self.assertRaises(deployment.Failure):
            chosen("local", runs=False)

    def test_an_endpoint_elsewhere_gets_the_callers_settings(self) -> None:
        place, settings = chosen(None, runs=True, AWS_ENDPOINT_URL="https://aws.example.com")
        self.assertEqual((place, settings["AWS_PROFILE"]), ("at https://aws.example.com", "shop"))

    def test_an_action_changes_an_account_only_if_it_was_chosen(self) -> None:
        for on, endpoint, is_refused in (
            (None, "", True),
            (None, "https://aws.example.com", True),
            (None, LOCAL, False),
            ("aws", "", False),
            ("local", LOCAL, False),
        ):
            with self.subTest(on=on, endpoint=endpoint), patch.dict(os.environ, {"AWS_ENDPOINT_URL": endpoint}):
                try:
                    deployment.require_choice(on, "")
                except deployment.Failure as failure:
                    self.assertIn("Set ON=aws", str(failure))
                    self.assertTrue(is_refused)
                else:
                    self.assertFalse(is_refused)


if __name__ == "__main__":
    unittest.main()
