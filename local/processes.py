"""Child processes that end together with everything they started."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path


class Failure(Exception):
    """Something that the person at the keyboard can act on; shown without a traceback."""


# Ctrl-C, a polite kill, and the end of the terminal.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruptible() -> None:
    """Makes every signal in `ENDS` raise KeyboardInterrupt once, and lets none disturb the stopping."""

    def interrupt(*_: object) -> None:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDS:
        # `nohup` has SIGHUP ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextlib.contextmanager
def alone(directory: Path, url: str) -> Iterator[None]:
    """Keeps the logs and the state in `directory` for this process; `Failure` says which other process has them.

    The lock goes with its process, however that ends.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "run.lock").open("a+")
    except OSError as error:
        raise Failure(f"{directory} cannot be written: {error.strerror}.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Failure(
                f"A pipeline runs in this checkout already: {lock.read()}. "
                "Stop it first. Another checkout can run beside it, on other ports (PORT, AWS_PORT)."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {url}")
        lock.flush()
        yield


class Child:
    """A long-running command, its output in a file; with `append`, after what the file holds already."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, *, append: bool = False) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            # A new file, not a truncated one: another pipeline may still be writing into the old.
            log.unlink(missing_ok=True)
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches only us, and we stop the children in order.
            self._process = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def check(self) -> None:
        """Raises `Failure` with the last lines of its output if it ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise Failure(f"{self.name} stopped by itself (exit code {code}). Its last lines, from {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last lines of its output."""
        return "\n".join("  " + line for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ends it and all its descendants."""
        _stop_tree(self._process)

    def below(self) -> list[int]:
        """The processes that it started, and those that they started."""
        return descendants(self._process.pid)

    def freeze(self) -> None:
        """Stops it and all its descendants where they are, until `thaw`."""
        frozen: list[int] = []
        # Until nobody is left who could have started another one meanwhile.
        while running := [pid for pid in (self._process.pid, *self.below()) if pid not in frozen]:
            _signal(running, signal.SIGSTOP)
            frozen += running

    def thaw(self) -> None:
        """Lets it and all its descendants go on."""
        _signal([self._process.pid, *self.below()], signal.SIGCONT)

    def kill(self) -> None:
        """Ends it and all its descendants with no chance to finish anything, as a crash does."""
        # Not one after the other: a function that sees watch gone gives up in its own way.
        self.freeze()
        _signal([self._process.pid, *self.below()], signal.SIGKILL)
        self._process.wait()


def run(command: Sequence[str], directory: Path) -> int:
    """Runs a command on our terminal to its end; if we are interrupted, nothing of it stays."""
    process = subprocess.Popen(command, cwd=directory)
    try:
        return process.wait()
    except BaseException:
        _stop_tree(process)
        raise


def _stop_tree(process: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Asks the process to end, then kills what is left of it and its descendants."""
    # Read before it ends: afterwards nothing tells whose children they were.
    below = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _signal(below, signal.SIGKILL)


def _signal(pids: Iterable[int], number: int) -> None:
    """Sends that signal to those of them that still run."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """The processes that it started, and those that they started."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def require_free_port(port: int, variable: str) -> None:
    """Raises `Failure` if something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Failure(f"Port {port} is taken. Stop what listens there, or choose another: {variable}={port + 1}") from None


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, condition: Callable[[], bool], seconds: float, children: Sequence[Child] = ()) -> None:
    """Waits for the condition, at most that long and only as long as the children live."""
    deadline = time.monotonic() + seconds
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise Failure(f"{what} took longer than {seconds:.0f} s.")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether anything answers HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
