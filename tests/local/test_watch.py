"""Which files make `cargo lambda watch` build and restart the functions: their sources, and nothing else."""

from __future__ import annotations

import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = ROOT / ".cargolambdaignore"
SOURCES = ("Cargo.lock", "Cargo.toml", "functions/", "rust-toolchain.toml", "shared/")


def ignored(paths: list[str]) -> set[str]:
    """Those of the paths that the file names; git reads its patterns as watch does."""
    asked = subprocess.run(
        ["git", "-c", f"core.excludesFile={IGNORED}", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=False,
    )
    return set(asked.stdout.splitlines())


class TestIgnored(unittest.TestCase):
    def test_git_and_documents_restart_nothing(self) -> None:
        # `git status` writes .git/index. git itself never lists what is in .git, so the line is looked for.
        self.assertIn(".git", IGNORED.read_text().splitlines())
        documents = ["README.md", "functions/cart/NOTES.md"]
        self.assertEqual(ignored(documents), set(documents))

    def test_of_the_checkout_only_sources_of_the_functions_are_watched(self) -> None:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        watched = {path for path in listed if path.startswith(SOURCES) and not path.endswith(".md")}
        self.assertEqual(set(listed) - ignored(listed), watched)


if __name__ == "__main__":
    unittest.main()
