"""A change that breaks callers is found, and a version that says so lets it pass."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from compare import ROOT, announces_breaks, unannounced_breaks


class TestCompare(unittest.TestCase):
    def breaks(self, right: str, wrong: str, version: str | None = None) -> list[str]:
        """What is found when `right` becomes `wrong` in the description of the API."""
        text = (ROOT / "api" / "openapi.yaml").read_text()
        self.assertIn(right, text)
        changed = text.replace(right, wrong, 1)
        if version:
            changed = changed.replace("\n  version: 0.1.0\n", f"\n  version: {version}\n", 1)
        with tempfile.TemporaryDirectory() as folder:
            old, new = Path(folder) / "old.yaml", Path(folder) / "new.yaml"
            old.write_text(text)
            new.write_text(changed)
            return unannounced_breaks(old, new)

    def test_a_break_needs_a_version_that_says_so(self) -> None:
        optional, required = "required: [customerId, items]\n", "required: [customerId, items, checkout]\n"
        self.assertNotEqual(self.breaks(optional, required), [])
        self.assertNotEqual(self.breaks(optional, required, "0.1.1"), [])
        self.assertEqual(self.breaks(optional, required, "0.2.0"), [])

    def test_what_callers_may_lose_is_found(self) -> None:
        for right, wrong in (
            ("  /api/order/cancel.json:\n", "  /api/order/revoke.json:\n"),
            ("        subTotalAmount:\n", "        netAmount:\n"),
            ("maximum: 10000\n", "maximum: 100\n"),
        ):
            with self.subTest(wrong.strip()):
                self.assertNotEqual(self.breaks(right, wrong), [])

    def test_words_may_change(self) -> None:
        self.assertEqual(self.breaks("summary: Price a cart", "summary: Price and store a cart"), [])

    def test_before_1_0_the_minor_version_announces_breaks(self) -> None:
        for old, new, announced in (
            ("0.1.0", "0.1.1", False),
            ("0.1.9", "0.2.0", True),
            ("0.9.0", "0.10.0", True),
            ("0.9.0", "1.0.0", True),
            ("1.0.0", "1.1.0", False),
            ("1.9.9", "2.0.0", True),
        ):
            with self.subTest(f"{old} → {new}"):
                self.assertEqual(announces_breaks(old, new), announced)


if __name__ == "__main__":
    unittest.main()
