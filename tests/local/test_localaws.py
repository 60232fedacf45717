"""What MiniStack has to be helped with."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

from localaws import MiniStack  # noqa: E402  (the path above makes it importable)


class Mappings:
    """Lambda's mappings as MiniStack lists them: the value of a Number parameter is a text there."""

    def __init__(self) -> None:
        self.mappings: dict[str, dict[str, Any]] = {
            "parameter": {"ScalingConfig": {"MaximumConcurrency": "2"}},
            "literal": {"ScalingConfig": {"MaximumConcurrency": 5}},
            "stream": {"ParallelizationFactor": "1"},
        }
        self.updated: list[str] = []

    def list_event_source_mappings(self) -> dict[str, Any]:
        return {"EventSourceMappings": [{"UUID": name} | mapping for name, mapping in self.mappings.items()]}

    def update_event_source_mapping(self, *, UUID: str, ScalingConfig: dict[str, Any]) -> None:
        self.updated.append(UUID)
        self.mappings[UUID]["ScalingConfig"] = ScalingConfig


class TestMiniStack(unittest.TestCase):
    def test_a_mapping_whose_concurrency_is_a_parameter_is_polled(self) -> None:
        """MiniStack compares the number of batches with it, and a text raises an error that ends each pass over the queues."""
        mappings = Mappings()
        with patch.object(MiniStack, "client", return_value=mappings):
            MiniStack(4566, Path("/nowhere")).mend_mappings()
        self.assertEqual(mappings.mappings["parameter"]["ScalingConfig"], {"MaximumConcurrency": 2})
        self.assertEqual(mappings.mappings["literal"]["ScalingConfig"], {"MaximumConcurrency": 5})
        self.assertEqual(mappings.updated, ["parameter", "literal"])


if __name__ == "__main__":
    unittest.main()
