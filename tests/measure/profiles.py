"""Compares release profiles: the size of a function, and the instructions of its start and of its calls.

    python3 tests/measure/profiles.py [BINARY]     needs valgrind; the first time, each profile takes minutes to compile

Valgrind counts instructions, so the figures do not depend on how busy the machine is. The function speaks to a Lambda
runtime API and to a DynamoDB on loopback that answer at once: GET of an order that does not exist, which reads once.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from zlib import crc32

ROOT = Path(__file__).resolve().parents[2]
BINARY = "order"
# Calls after the first; their mean is what a warm call costs.
LATER = 20
# Seconds. Under valgrind a function starts in a few.
DEADLINE = 120


@dataclass(frozen=True)
class Profile:
    level: str
    lto: str
    units: int

    @property
    def name(self) -> str:
        return f"level {self.level}, {self.lto} LTO, {self.units} codegen unit{'s' if self.units > 1 else ''}"

    @property
    def target(self) -> Path:
        return ROOT / "target" / "profiles" / f"{self.level}-{self.lto}-{self.units}"

    def build(self, binary: str) -> tuple[Path, float]:
        """The compiled function, and the CPU seconds that this took; 0 if nothing had to be compiled."""
        before = os.times()
        variables = {"OPT_LEVEL": self.level, "LTO": self.lto, "CODEGEN_UNITS": str(self.units)}
        subprocess.run(
            ["cargo", "build", "--quiet", "--release", "--package", binary, "--bin", binary],
            cwd=ROOT,
            env=os.environ
            | {"CARGO_TARGET_DIR": str(self.target)}
            | {f"CARGO_PROFILE_RELEASE_{name}": value for name, value in variables.items()},
            check=True,
        )
        after = os.times()
        cpu = after.children_user - before.children_user + after.children_system - before.children_system
        return self.target / "release" / binary, cpu


PROFILES = [
    Profile("3", "thin", 4),
    Profile("3", "fat", 1),
    Profile("s", "fat", 1),
]


class Cloud(ThreadingHTTPServer):
    """A Lambda runtime API that has `calls` invocations, and a DynamoDB without items."""

    def __init__(self, calls: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.left = calls
        # The function waits for more than there is.
        self.idle = Event()
        self.failures: list[str] = []
        self.event = json.loads((ROOT / "events" / "order.json").read_text())
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def do_GET(self) -> None:
        if not self.server.left:
            self.server.idle.set()
            # The function is ended while it waits.
            time.sleep(DEADLINE)
            return
        self.server.left -= 1
        deadline = int((time.time() + DEADLINE) * 1000)
        self._answer(
            json.dumps(self.server.event).encode(),
            {
                "Lambda-Runtime-Aws-Request-Id": "3f1d9c1e-0000-4000-8000-000000000000",
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:measured",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("X-Amz-Target"):
            found = b"{}"
            self._answer(found, {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Crc32": str(crc32(found))})
            return
        if json.loads(body or b"{}").get("statusCode") != 404:
            self.server.failures.append(body.decode(errors="replace"))
        self._answer(b"{}", {}, 202)

    def _answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def instructions(binary: Path, calls: int) -> int:
    """How many a process takes that starts, answers this many calls, and waits for the next."""
    cloud = Cloud(calls)
    variables = {
        "AWS_LAMBDA_RUNTIME_API": cloud.address,
        "AWS_ENDPOINT_URL": f"http://{cloud.address}",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_LAMBDA_FUNCTION_NAME": "measured",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AUTHENTICATION": "none",
        "STAGE": "dev",
        "ORDERS_TABLE": "orders",
        "EMAILS_TABLE": "emails",
        "IDEMPOTENCY_TABLE": "keys",
        "CURRENCY": "USD",
    }
    process = subprocess.Popen(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(binary)],
        env={"PATH": os.environ["PATH"]} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    is_idle = cloud.idle.wait(DEADLINE)
    process.terminate()
    _, said = process.communicate(timeout=DEADLINE)
    cloud.shutdown()
    counted = re.search(r"Collected : (\d+)", said)
    if not is_idle or cloud.failures or not counted:
        sys.exit(f"{binary} did not answer as it should:\n{cloud.failures}\n{said[-3000:]}")
    return int(counted[1])


def main(arguments: list[str]) -> None:
    binary = arguments[0] if arguments else BINARY
    print("| Profile | bytes | start | first call | later call, millions of instructions | CPU seconds to compile |")
    print("| --- | --- | --- | --- | --- | --- |")
    for profile in PROFILES:
        path, cpu = profile.build(binary)
        start, first, all_calls = (instructions(path, calls) for calls in (0, 1, 1 + LATER))
        counts = (start, first - start, (all_calls - first) // LATER)
        millions = " | ".join(f"{count / 1e6:.2f}" for count in counts)
        size = f"{path.stat().st_size:,}".replace(",", " ")
        print(f"| {profile.name} | {size} | {millions} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
