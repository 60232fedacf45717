"""Compares api/ with the last release: a change that breaks callers needs a version that says so.

    python3 tests/api/compare.py

A release is a tag such as v0.2.0. Versions follow Semantic Versioning: a break raises the major version, before 1.0.0 the
minor one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REDOCLY = ROOT / ".local" / "node" / "node_modules" / ".bin" / "redocly"
CONFIGURATION = ROOT / "tests" / "api" / "redocly.yaml"
DESCRIPTIONS = ("openapi.yaml", "asyncapi.yaml")


def version(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


def announces_breaks(old: str, new: str) -> bool:
    """Whether the step from one version to the other tells callers to expect breaks."""
    before, after = version(old), version(new)
    digits = 1 if before[0] else 2
    return after[:digits] > before[:digits]


def unannounced_breaks(old: Path, new: Path) -> list[str]:
    """The changes between two descriptions that break callers, unless the version announces them."""
    command = [str(REDOCLY), "diff", str(old), str(new), "--config", str(CONFIGURATION), "--format", "json", "--fail-on", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    if announces_breaks(report["infoVersions"]["base"], report["infoVersions"]["revision"]):
        return []
    breaks = [change for change in report["changes"] if change["impact"] == "major"]
    return [f"{change['path']}: {verdict['message']}" for change in breaks for verdict in change["verdicts"]]


def git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def main() -> int:
    tag = (git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*") or "").strip()
    if not tag:
        print("api/: no release is tagged yet, so there is nothing to compare with.")
        return 0
    found = []
    for name in DESCRIPTIONS:
        released = git("show", f"{tag}:api/{name}")
        if released is None:
            print(f"api/{name}: {tag} does not have it, so there is nothing to compare with.")
            continue
        with tempfile.TemporaryDirectory() as folder:
            old = Path(folder) / name
            old.write_text(released)
            breaks = unannounced_breaks(old, ROOT / "api" / name)
        found += [f"api/{name} breaks callers of {tag}: {each}" for each in breaks]
        if not breaks:
            print(f"api/{name}: compared with {tag}.")
    for each in found:
        print(each, file=sys.stderr)
    if found:
        print("Raise the version in Cargo.toml and in api/, or undo the change.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
