"""The running pipeline and api/openapi.yaml: nothing undeclared is answered, and generated clients place orders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unittest
import uuid
from pathlib import Path

import pipeline  # noqa: F401 (makes local/ importable)

# From local/, which pipeline made importable.
from processes import free_port, run
from stack import ROOT, Stack

DESCRIPTION = ROOT / "api" / "openapi.yaml"
TOOLS = ROOT / ".local" / "node" / "node_modules" / ".bin"
CLIENTS = ROOT / "tests" / "api" / "clients"


def done(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints; an error if it fails."""
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"REDOCLY_TELEMETRY": "off", "PYTHONPATH": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    if finished.returncode:
        raise AssertionError(f"{command[0]} failed:\n{finished.stdout[-20_000:]}")
    return finished.stdout


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
            self.assertIn("shipped ord_", done("node", self.clients / "js" / "take-order.js", self.stack.url, uuid.uuid4().hex))
        with self.subTest("Python"):
            script = self.clients / "take_order.py"
            self.assertIn("shipped ord_", done(sys.executable, script, self.stack.url, uuid.uuid4().hex, cwd=self.clients))

    def test_2_no_call_gets_an_undeclared_answer(self) -> None:
        done(
            "schemathesis",
            *("--config-file", ROOT / "tests" / "api" / "schemathesis.toml"),
            *("run", DESCRIPTION, "--url", self.stack.url),
            cwd=self.stack.directory,
        )


if __name__ == "__main__":
    unittest.main()
