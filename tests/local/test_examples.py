"""The examples people paste: the documents' calls and what `make run` prints, run by a shell against a played API."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

import demo  # noqa: E402  (the path above makes it importable)
import sample  # noqa: E402
from partner import AGREEMENT  # noqa: E402
from run import TRY  # noqa: E402

README, API, LOCAL, INTEGRATING = (
    (ROOT / page).read_text() for page in ("README.md", "docs/api.md", "docs/local.md", "docs/integrating.md")
)
# What a key must not look like: a card number.
DIGITS = re.compile(r"(?:\d[ -]?){12,19}")

# Method, path, Idempotency-Key and body.
Call = tuple[str, str, str | None, Any]


class PlayedApi(BaseHTTPRequestHandler):
    """Answers every call with the ids of a new order, or those that its key got before, and keeps what it was asked."""

    asked: ClassVar[list[Call]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.command, self.path, self.headers["idempotency-key"], body))
        self._answer()

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, None, None))
        self._answer()

    do_DELETE = do_GET

    def _answer(self) -> None:
        number = f"{len(self.asked):026}"
        answer = json.dumps(
            {"orderId": f"ord_{number}", "invoiceId": f"inv_{number}", "status": "pending"}, separators=(",", ":")
        ).encode()
        self.send_response(201)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def calls_of(script: str, url: str) -> list[Call]:
    """What the commands ask of the API."""
    PlayedApi.asked.clear()
    # A shell without bash's own additions, and no waiting for a chain that is not there.
    commands = re.sub(r"(?m)^sleep \d+$", "", script)
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], env=os.environ | {"URL": url}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(PlayedApi.asked)


def shell_blocks(document: str) -> list[str]:
    return re.findall(r"(?s)```sh\n(.*?)```", document)


class TestExamples(unittest.TestCase):
    url: str

    @classmethod
    def setUpClass(cls) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), PlayedApi)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cls.addClassCleanup(server.server_close)
        cls.addClassCleanup(thread.join)
        cls.addClassCleanup(server.shutdown)
        cls.url = f"http://127.0.0.1:{server.server_address[1]}"

    def examples(self, document: str) -> str:
        """The document's shell blocks, as they stand, against the played API."""
        return "\n".join(shell_blocks(document)).replace("http://localhost:9000", self.url)

    def assert_keyed(self, asked: list[Call]) -> None:
        posts = [(path, key or "", body) for method, path, key, body in asked if method == "POST"]
        for path, key, _ in posts:
            self.assertTrue(key, f"POST {path} without an Idempotency-Key")
            self.assertNotRegex(key.replace("".join(re.findall(r"(?:ord|inv)_\w{26}", key)), ""), DIGITS)
        self.assertEqual(len({key for _, key, _ in posts}), len(posts), "one key for two requests")

    def test_every_post_of_the_api_page_has_a_key_of_its_own(self) -> None:
        asked = calls_of(self.examples(API), self.url)
        self.assert_keyed(asked)
        self.assertEqual(
            {path for method, path, _, _ in asked if method == "POST"},
            {f"/api/order/{name}.json" for name in ("cart", "invoice", "payment", "shipping", "email", "cancel", "refund")}
            | {"/api/customer/billing.json"},
        )

    def test_the_readmes_order_can_be_pasted(self) -> None:
        section = README[README.index("## Place an order") : README.index("## Test")]
        asked = calls_of(self.examples(section), self.url)
        self.assert_keyed(asked)
        self.assertEqual(
            [(method, path) for method, path, _, _ in asked],
            [("POST", "/api/order/cart.json"), ("GET", f"/api/order/ord_{1:026}")],
        )

    def test_a_key_of_one_customers_order_is_never_reused_for_another_order(self) -> None:
        twice = calls_of(f"{self.examples(API)}\n{self.examples(API)}", self.url)
        bodies: dict[str, Any] = {}
        for method, _, key, body in twice:
            if method == "POST":
                self.assertEqual(bodies.setdefault(str(key), body), body, key)

    def test_the_api_pages_agreement_leaves_the_examples_customer_alone(self) -> None:
        for method, path, _, body in calls_of(self.examples(API), self.url):
            if path.startswith("/api/customer"):
                self.assertNotIn(AGREEMENT["customerId"], (path.split("/")[3], (body or {}).get("customerId")), (method, path))

    def test_the_documents_list_the_payment_methods_of_stripes_double(self) -> None:
        source = (ROOT / "tests/src/bin/stripe-double.rs").read_text()
        methods = re.findall(r'^    "(pm_\w+)",$', source, re.MULTILINE)
        self.assertTrue(methods)
        for name in (*methods, AGREEMENT["partnerCustomerId"]):
            self.assertIn(f"`{name}`", LOCAL)
        self.assertLessEqual(set(re.findall(r"pm_\w+", API + LOCAL)), {*methods, "pm_"})

    def test_the_start_message_can_be_pasted(self) -> None:
        message = TRY.format(seconds=1, url=self.url, aws=self.url, console=self.url, log="log", currency="EUR")
        order, *others = re.findall(r"(?ms)^  (ORDER=\$\(.*?\\1/'\))$|^  .*?(curl -s http\S+)$", message)
        script = "\n".join([order[0], *(command for _, command in others)])
        asked = calls_of(script, self.url)
        self.assert_keyed(asked)
        self.assertEqual(
            [(method, path) for method, path, _, _ in asked],
            [
                ("POST", "/api/order/cart.json"),
                ("GET", f"/api/order/ord_{1:026}"),
            ],
        )
        self.assertEqual(asked[0][3]["checkout"]["currency"], "EUR")

    def test_the_clients_in_python_and_typescript_place_an_order_and_read_it(self) -> None:
        [python] = re.findall(r"(?s)```python\n(.*?)```", INTEGRATING)
        [typescript] = re.findall(r"(?s)```ts\n(.*?)```", INTEGRATING)
        # The only types that it has.
        javascript = typescript.replace("method: string, path: string, body?: object, key?: string", "method, path, body, key")
        runs = [([sys.executable, "-"], python)]
        if node := shutil.which("node"):
            runs.append(([node, "--input-type=module", "-"], javascript))
        for command, program in runs:
            PlayedApi.asked.clear()
            env = os.environ | {"API": self.url, "TOKEN": ""}
            done = subprocess.run(command, input=program, env=env, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, "pending\n"), done.stderr)
            self.assert_keyed(PlayedApi.asked)
            self.assertEqual(
                [call[:2] for call in PlayedApi.asked], [("POST", "/api/order/cart.json"), ("GET", f"/api/order/ord_{1:026}")]
            )

    def test_the_demo_sends_a_key(self) -> None:
        PlayedApi.asked.clear()
        for _ in range(2):
            demo.call(f"{self.url}/api/order/cart.json", sample.cart("USD"))
        self.assert_keyed(PlayedApi.asked)


class TestSampleEvents(unittest.TestCase):
    def test_every_post_has_a_key_but_a_partners_webhook(self) -> None:
        for file in sorted((ROOT / "events").glob("*.json")):
            event = json.loads(file.read_text())
            if event.get("requestContext", {}).get("http", {}).get("method") == "POST" and file.stem != "webhook":
                self.assertIn("idempotency-key", event["headers"], file.name)


if __name__ == "__main__":
    unittest.main()
