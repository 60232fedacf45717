"""Shows in the terminal of `make run` that a saved file does not compile: until then, calls to its function wait."""

from __future__ import annotations

from pathlib import Path


class CompileErrors:
    """The compiler's errors in the log of `cargo lambda watch`, each once. The functions' own lines are JSON."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = log.stat().st_size if log.exists() else 0
        self._rest = ""

    def new(self) -> list[str]:
        """The errors since the last call, each with the line that says where."""
        try:
            with self._log.open(encoding="utf-8", errors="replace") as log:
                log.seek(self._at)
                text = self._rest + log.read()
                self._at = log.tell()
        except OSError:
            return []
        *lines, self._rest = text.split("\n")
        found: list[str] = []
        for number, line in enumerate(lines):
            if line.startswith(("error:", "error[")):
                where = next((each.strip() for each in lines[number + 1 : number + 3] if each.strip().startswith("-->")), "")
                found.append(f"{line} {where}".strip())
        return found
