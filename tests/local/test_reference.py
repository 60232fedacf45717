"""What /docs serves, without a browser: tests/console opens it."""

from __future__ import annotations

import hashlib
import sys
import unittest
from pathlib import Path

from samcli.yamlhelper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

# The path above makes them importable.
from front import Request, Response  # noqa: E402
from reference import DESCRIPTION, answer, scalar  # noqa: E402

# Of dist/browser/standalone.js in npm's @scalar/api-reference 1.76.0. The wheel of another publisher carries it.
SCALAR = "dcb027152bf20bf2f6dcd66e8f9fb073c1a9e274cf0b94b939a7d99ab8947060"


def asked(target: str, method: str = "GET") -> Response | None:
    return answer(Request(method, target, {}, b""))


class TestReference(unittest.TestCase):
    def test_the_script_is_the_one_that_scalar_published(self) -> None:
        self.assertEqual(hashlib.sha256(scalar().read_bytes()).hexdigest(), SCALAR)

    def test_the_page_loads_what_is_served_beside_it(self) -> None:
        for path in ("/docs", "/docs/scalar.js", "/docs/start.js", "/openapi.yaml"):
            found = asked(path)
            self.assertIsNotNone(found, path)
        page = asked("/docs")
        assert page
        self.assertNotIn(b"http", page.body)

    def test_another_path_is_not_a_page(self) -> None:
        for path in ("/docs/../front.py", "/docs/%2e%2e/reference.py", "/docs/other.js", "/openapi.yaml/x"):
            self.assertIsNone(asked(path), path)
        self.assertIsNone(asked("/docs", "POST"))

    def test_the_served_description_differs_in_its_server_only(self) -> None:
        served, written = asked("/openapi.yaml"), yaml_parse(DESCRIPTION.read_text())
        assert served
        shown = yaml_parse(served.body.decode())
        self.assertEqual([server["url"] for server in shown.pop("servers")], ["/"])
        del written["servers"]
        self.assertEqual(shown, written)


if __name__ == "__main__":
    unittest.main()
