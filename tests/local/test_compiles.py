"""What `make run` says of a saved file that does not compile, and that it says nothing of a function's own lines."""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "local"))

from compiles import CompileErrors


class TestCompileErrors(unittest.TestCase):
    def test_each_error_is_shown_once_with_its_place(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "functions.log"
            log.write_text("error: an old one\n")
            errors = CompileErrors(log)
            with log.open("a") as lines:
                lines.write('{"level":"ERROR","message":"error: of a function"}\n')
                lines.write("error[E0425]: cannot find value `x` in this scope\n  --> functions/cart/src/lib.rs:7:5\n")
                lines.write("error: could not compile `cart` (lib) due to 1 previous error\nerror: not yet whole")
            self.assertEqual(
                errors.new(),
                [
                    "error[E0425]: cannot find value `x` in this scope --> functions/cart/src/lib.rs:7:5",
                    "error: could not compile `cart` (lib) due to 1 previous error",
                ],
            )
            self.assertEqual(errors.new(), [])
            with log.open("a") as lines:
                lines.write("\n")
            self.assertEqual(errors.new(), ["error: not yet whole"])

    def test_a_log_that_is_not_there_yet_is_no_error(self) -> None:
        self.assertEqual(CompileErrors(Path("/nowhere/functions.log")).new(), [])


if __name__ == "__main__":
    unittest.main()
