"""Stripe's client against localstripe, a Stripe whose authors are not ours: runs tests/suite/localstripe.rs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

from processes import Child, wait_until  # noqa: E402  (the path above makes it importable)

# As `make test-rust` builds it, so that nothing is compiled anew.
TESTS = ["cargo", "test", "--workspace", "--test", "suite", "localstripe::", "--", "--include-ignored"]


class TestLocalstripe(unittest.TestCase):
    url: str
    child: Child

    @classmethod
    def setUpClass(cls) -> None:
        log = ROOT / ".local" / "test-wire" / "localstripe.log"
        launcher = Path(__file__).with_name("serve_localstripe.py")
        child = Child("localstripe", [sys.executable, str(launcher)], {}, log)
        cls.addClassCleanup(child.stop)

        def addresses() -> list[str]:
            return re.findall(r"^http://127\.0\.0\.1:\d+$", log.read_text(), re.MULTILINE)

        wait_until("Starting localstripe", lambda: bool(addresses()), 30, [child])
        [cls.url] = addresses()
        cls.child = child

    def test_the_client_and_localstripe_mean_the_same(self) -> None:
        tests = subprocess.run(
            TESTS, cwd=ROOT, env=os.environ | {"LOCALSTRIPE_URL": self.url}, stdout=subprocess.PIPE, text=True, check=False
        )
        print(tests.stdout)
        self.assertEqual(tests.returncode, 0, f"localstripe said:\n{self.child.tail()}")
        # A filter that fits no test succeeds too.
        passed = re.search(r"^test result: ok\. (\d+) passed; 0 failed; 0 ignored", tests.stdout, re.MULTILINE)
        self.assertTrue(passed and int(passed[1]) > 0, "no test ran")


if __name__ == "__main__":
    unittest.main()
