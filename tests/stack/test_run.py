"""How `make run` ends: whatever happens, with a reason and with nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import unittest
from threading import Timer
from typing import IO

from pipeline import eventually

# From local/, which pipeline made importable.
from processes import descendants, free_port
from stack import ROOT


def start(port: int, aws_port: int) -> subprocess.Popen[str]:
    """`make run` without make, its whole output in one pipe."""
    # Under nohup, it would inherit that SIGHUP is ignored.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "local" / "run.py")],
            cwd=ROOT,
            env=os.environ | {"PORT": str(port), "AWS_PORT": str(aws_port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def output(process: subprocess.Popen[str]) -> IO[str]:
    """The pipe that it writes to."""
    assert process.stdout
    return process.stdout


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestRun(unittest.TestCase):
    def ready(self) -> tuple[subprocess.Popen[str], list[int]]:
        """A pipeline that takes orders, and all its processes below."""
        running = start(free_port(), free_port())
        self.addCleanup(output(running).close)
        self.addCleanup(running.terminate)
        for line in output(running):
            if line.startswith("Ready"):
                break
        below = descendants(running.pid)
        # MiniStack, watch and the eight functions.
        self.assertGreaterEqual(len(below), 10)
        return running, below

    def assert_ends(self, running: subprocess.Popen[str], below: list[int], code: int) -> str:
        # A pipeline that stays would be waited for without end.
        too_long = Timer(60, running.kill)
        too_long.start()
        said = output(running).read()
        too_long.cancel()
        self.assertEqual(running.wait(30), code, said)
        eventually("the end of every process", lambda: not any(alive(pid) for pid in below), 5)
        return said

    def test_a_signal_leaves_nothing_running(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number.name):
                running, below = self.ready()
                running.send_signal(number)
                self.assertIn("Stopped.", self.assert_ends(running, below, 0))

    def test_the_death_of_a_part_ends_the_rest_and_is_named(self) -> None:
        running, below = self.ready()
        os.kill(below[0], signal.SIGKILL)
        self.assertIn("stopped unexpectedly (exit code -9)", self.assert_ends(running, below, 1))

    def test_a_taken_port_is_named_before_anything_starts(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            refused = start(port, free_port())
            said, _ = refused.communicate(timeout=30)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"Port {port} is taken", said)
        self.assertNotIn("Building", said)


if __name__ == "__main__":
    unittest.main()
