"""The pipeline as on a laptop: `cargo lambda watch` behind MiniStack's event source mappings."""

from __future__ import annotations

import unittest

from alike import AlikeTests
from operations import OperationsTests
from pipeline import Pipeline, PipelineTests

# From local/, which pipeline made importable.
from processes import free_port, run
from stack import NAME, ROOT, Stack


class TestWatch(PipelineTests, OperationsTests, AlikeTests):
    @classmethod
    def setUpClass(cls) -> None:
        if run(["cargo", "build", "--bins"], ROOT):
            raise AssertionError("the functions do not compile")
        stack = Stack(free_port(), free_port(), ROOT / ".local" / "test-watch", reload=False)
        cls.enterClassContext(stack)
        cls.pipeline = Pipeline(stack.url, stack.aws, stack.aws.outputs(NAME))


# Only the subclass is to be run.
del AlikeTests, PipelineTests, OperationsTests

if __name__ == "__main__":
    unittest.main()
