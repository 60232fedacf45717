"""Child processes that end together with all their descendants."""

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
    """An error that the user can act on; shown without a traceback."""


# Ctrl-C, `kill`, and the closing of the terminal.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interruptible() -> None:
    """Makes the first signal in `ENDS` raise KeyboardInterrupt and ignores later ones, so that the shutdown completes."""

    def interrupt(*_: object) -> None:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDS:
        # Respect `nohup`, which ignores SIGHUP.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextlib.contextmanager
def alone(directory: Path, url: str) -> Iterator[None]:
    """Locks `directory` for this process; `Failure` names the process that holds the lock.

    The lock is released when its process ends, however it ends.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "run.lock").open("a+")
    except OSError as error:
        raise Failure(f"{directory} is not writable: {error.strerror}. Check its permissions.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Failure(
                f"A pipeline is already running in this checkout: {lock.read()}. "
                "Stop it first, or use another checkout with other ports (PORT, AWS_PORT)."
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {url}")
        lock.flush()
        yield


class Child:
    """A long-running command that writes to a log file; `append` keeps the file's content."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, *, append: bool = False) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            # A new file instead of a truncated one: another pipeline may still be writing to the old one.
            log.unlink(missing_ok=True)
        with log.open("ab") as output:
            # A new session: Ctrl-C reaches only this process, which stops the children in order.
            self._process = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def check(self) -> None:
        """Raises `Failure` with the last lines of its output if it ended unexpectedly."""
        code = self._process.poll()
        if code is not None:
            raise Failure(f"{self.name} stopped unexpectedly (exit code {code}). Its last lines, from {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last lines of its output."""
        return "\n".join("  " + line for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Stops it and all its descendants."""
        _stop_tree(self._process)

    def below(self) -> list[int]:
        """All its descendants."""
        return descendants(self._process.pid)

    def freeze(self) -> None:
        """Pauses it and all its descendants until `thaw`."""
        frozen: list[int] = []
        # Repeat until no process is left that could have started another one in between.
        while running := [pid for pid in (self._process.pid, *self.below()) if pid not in frozen]:
            _signal(running, signal.SIGSTOP)
            frozen += running

    def thaw(self) -> None:
        """Resumes it and all its descendants."""
        _signal([self._process.pid, *self.below()], signal.SIGCONT)

    def kill(self) -> None:
        """Kills it and all its descendants at once, as a crash does."""
        # All together: a function handles the loss of `cargo lambda watch` in its own way.
        self.freeze()
        _signal([self._process.pid, *self.below()], signal.SIGKILL)
        self._process.wait()


def run(command: Sequence[str], directory: Path) -> int:
    """Runs a command on this terminal to its end; an interrupt stops it completely."""
    process = subprocess.Popen(command, cwd=directory)
    try:
        return process.wait()
    except BaseException:
        _stop_tree(process)
        raise


def _stop_tree(process: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Terminates the process, then kills whatever is left of it and its descendants."""
    # Read them first: once it has ended, nothing links them to it.
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
    """Sends the signal to those that are still running."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """All its descendants."""
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
    """Raises `Failure` if the port is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise Failure(
                f"Port {port} is taken. Stop the process that listens on it, or choose another: {variable}={port + 1}"
            ) from None


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, condition: Callable[[], bool], seconds: float, children: Sequence[Child] = ()) -> None:
    """Waits for the condition, for at most `seconds` and while the children run."""
    deadline = time.monotonic() + seconds
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise Failure(f"{what} took longer than {seconds:.0f} s. See the logs in .local.")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Whether an HTTP server answers at `url`."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
