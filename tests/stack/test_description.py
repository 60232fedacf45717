"""The running pipeline and api/: nothing undeclared is answered, and generated clients and the collection of requests work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from samcli.yamlhelper import yaml_parse

from pipeline import a_key

from collection import Collection

# From local/, which `pipeline` made importable.
from processes import free_port, run
from stack import ROOT, Stack

DESCRIPTION = ROOT / "api" / "openapi.yaml"
TOOLS = ROOT / ".local" / "node" / "node_modules" / ".bin"
CLIENTS = ROOT / "tests" / "api" / "clients"
COLLECTION = ROOT / "api" / "orderflow.http"
# The sandbox sends no webhooks, so the local stack has no such route.
ELSEWHERE = {"receiveWebhook"}


def done(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; an error if it fails."""
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"REDOCLY_TELEMETRY": "off", "PYTHONPATH": f"{cwd}{os.pathsep}{ROOT / 'tests' / 'api'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    if finished.returncode:
        raise AssertionError(f"{command[0]} failed:\n{finished.stdout[-20_000:]}")
    return finished.stdout


class TestCollection(unittest.TestCase):
    def test_the_collection_has_every_operation(self) -> None:
        requests = Collection.read(COLLECTION).requests
        called = {(request.method.lower(), request.url.removeprefix("{{api}}").partition("?")[0]) for request in requests}
        for path, operations in yaml_parse(DESCRIPTION.read_text())["paths"].items():
            place = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path.removeprefix("/api"))))
            for method in operations.keys() - {"parameters"}:
                found = any(method == called_method and place.fullmatch(url) for called_method, url in called)
                self.assertEqual(found, operations[method]["operationId"] not in ELSEWHERE, f"{method} {path}")


class TestDescription(unittest.TestCase):
    stack: Stack
    # Where the clients are generated.
    clients: Path

    @classmethod
    def setUpClass(cls) -> None:
        if run(["cargo", "build", "--bins"], ROOT):
            raise AssertionError("the functions do not compile")
        directory = ROOT / ".local" / "test-description"
        cls.stack = Stack(free_port(), free_port(), directory, reload=False)
        cls.enterClassContext(cls.stack)
        cls.clients = directory / "clients"

    def test_1_generated_clients_take_an_order_to_shipped(self) -> None:
        shutil.rmtree(self.clients, ignore_errors=True)
        shutil.copytree(CLIENTS, self.clients)
        generators = ("--generator", "typescript", "--generator", "python")
        output = self.clients / "orderflow.ts"
        done(TOOLS / "redocly", "generate-client", DESCRIPTION, "--output", output, "--args-style", "grouped", *generators)
        with self.subTest("TypeScript"):
            done(TOOLS / "tsc", "--project", self.clients)
            self.assertIn("shipped ord_", done("node", self.clients / "js" / "take-order.js", self.stack.url, a_key()))
        with self.subTest("Python"):
            script = self.clients / "take_order.py"
            self.assertIn("shipped ord_", done(sys.executable, script, self.stack.url, a_key(), cwd=self.clients))

    def test_2_the_collection_of_requests_gets_the_answers_that_it_promises(self) -> None:
        collection = Collection.read(COLLECTION)
        collection.variables["api"] = f"{self.stack.url}/api"
        for request, status, answer in collection.send():
            self.assertEqual((status, answer.get("code")), (request.status, request.code), f"{request.title}: {answer}")

    def test_3_no_call_gets_an_undeclared_answer(self) -> None:
        done(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", ROOT / "tests" / "api" / "schemathesis.toml"),
            *("run", DESCRIPTION, "--url", self.stack.url),
            cwd=self.stack.directory,
        )


if __name__ == "__main__":
    unittest.main()
