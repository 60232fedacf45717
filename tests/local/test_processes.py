"""That nothing outlives its parent, and that two pipelines never share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import IO
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

import run  # noqa: E402  (the path above makes it importable)
from processes import Failure, alone, free_port  # noqa: E402

# A parent as `make run` is one: a child with a child of its own, until a signal ends all three.
PARENT = """
import os, subprocess, sys, time
from pathlib import Path
from processes import Child, interruptible, wait_until

interruptible()
below = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'])"
child = Child("child", [sys.executable, "-c", below], os.environ, Path(sys.argv[1]))
try:
    wait_until("the grandchild", lambda: child.log.read_text() != "", 30, [child])
    print(os.getpid(), child._process.pid, *child.below(), flush=True)
    while True:
        time.sleep(0.1)
except KeyboardInterrupt:
    print("Stopped.")
finally:
    child.stop()
"""


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    return state != "" and not state.startswith("Z")


def kill(pid: int) -> None:
    """Ends it if it still runs."""
    if alive(pid):
        os.kill(pid, signal.SIGKILL)


def output(process: subprocess.Popen[str]) -> IO[str]:
    """The pipe that it writes to."""
    assert process.stdout
    return process.stdout


class TestSignals(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def started(self) -> tuple[subprocess.Popen[str], list[int]]:
        """The parent, in a process group of its own as a terminal's job is, and all three processes."""
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(self.folder / "child.log")],
            env=os.environ | {"PYTHONPATH": str(ROOT / "local")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(output(parent).close)
        everyone = [int(pid) for pid in output(parent).readline().split()]
        self.assertEqual(len(everyone), 3)
        for pid in everyone[1:]:
            self.addCleanup(kill, pid)
        return parent, everyone

    def test_every_signal_that_asks_to_end_ends_all_processes(self) -> None:
        # As in a terminal, also where the tests themselves run under `nohup`.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number.name):
                parent, everyone = self.started()
                os.killpg(parent.pid, number)
                said = output(parent).read()
                self.assertEqual((parent.wait(30), said), (0, "Stopped.\n"))
                deadline = time.monotonic() + 10
                while (left := [pid for pid in everyone if alive(pid)]) and time.monotonic() < deadline:
                    time.sleep(0.05)
                self.assertEqual(left, [])

    def test_what_nohup_started_outlives_its_terminal(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        parent, _ = self.started()
        os.killpg(parent.pid, signal.SIGHUP)
        with self.assertRaises(subprocess.TimeoutExpired):
            parent.wait(0.5)
        os.killpg(parent.pid, signal.SIGTERM)
        self.assertEqual(parent.wait(30), 0)


class TestAlone(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".local"

    def test_the_second_is_refused_and_told_of_the_first(self) -> None:
        with alone(self.folder, "http://127.0.0.1:9000"):
            for _ in range(2):
                with self.assertRaises(Failure) as refused, alone(self.folder, "http://127.0.0.1:9001"):
                    pass
                self.assertIn(f"process {os.getpid()}, http://127.0.0.1:9000", str(refused.exception))
        with alone(self.folder, "http://127.0.0.1:9001"):
            pass

    def test_a_second_pipeline_touches_nothing_of_the_first(self) -> None:
        with alone(self.folder, "http://127.0.0.1:9000"):
            files = {self.folder / name: name for name in ("functions.log", "ministack.log", "running.json")}
            for file, text in files.items():
                file.write_text(text)
            ports = {"PORT": str(free_port()), "AWS_PORT": str(free_port())}
            with (
                patch.dict(os.environ, ports),
                patch.object(run, "DIRECTORY", self.folder),
                patch.object(run, "build", lambda: self.fail("nothing is to be built")),
                self.assertRaises(Failure),
                run.pipeline(),
            ):
                pass
            self.assertEqual({file: file.read_text() for file in files}, files)

    def test_a_folder_that_cannot_be_written_is_named(self) -> None:
        self.folder.write_text("a file, where a folder should be")
        with self.assertRaises(Failure) as refused, alone(self.folder, "http://127.0.0.1:9000"):
            pass
        self.assertIn(str(self.folder), str(refused.exception))


if __name__ == "__main__":
    unittest.main()
