"""A DynamoDB whose answers are played. It refuses expressions that DynamoDB refuses, which MiniStack does only in part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.exceptions import ClientError

# "Reserved words in DynamoDB", Amazon DynamoDB Developer Guide.
RESERVED = frozenset((Path(__file__).resolve().parents[1] / "reserved_words.txt").read_text().split())
# The words of the expressions' own grammar, in the case in which they are written here.
GRAMMAR = frozenset(("SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN"))
NAME = re.compile(r"[#:]?[A-Za-z_][A-Za-z0-9_]*(?P<call>\s*\()?")

Answer = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]


def refusal(request: Mapping[str, Any]) -> str | None:
    """Why DynamoDB refuses the expressions of a request, or of one part of it; None if it takes them."""
    expressions = {name: text for name, text in request.items() if name.endswith("Expression")}
    for kind, text in expressions.items():
        bare = (found[0] for found in NAME.finditer(text) if not found["call"] and found[0][0] not in "#:")
        if reserved := [word for word in bare if word.upper() in RESERVED and word not in GRAMMAR]:
            return f"Invalid {kind}: Attribute name is a reserved keyword; reserved keyword: {reserved[0]}"
    used = {found[0] for text in expressions.values() for found in NAME.finditer(text) if found[0][0] in "#:"}
    given = {*request.get("ExpressionAttributeNames", {}), *request.get("ExpressionAttributeValues", {})}
    if used != given:
        return f"Names and values that are used but not given, or given but not used: {sorted(used ^ given)}"
    return None


def parts(request: Any) -> Iterator[Mapping[str, Any]]:
    """A request and everything in it that can have expressions of its own: the tables of a batch, a transaction's writes."""
    if isinstance(request, Mapping):
        yield request
        request = list(request.values())
    if isinstance(request, Sequence) and not isinstance(request, str):
        for part in request:
            yield from parts(part)


class PlayedDynamoDb:
    """A real client with an answer, or answers in turn, for each operation; other operations fail. It keeps the requests."""

    def __init__(self, **answers: Answer | list[Answer]) -> None:
        """An answer with `Error` is a refusal."""
        self.client: Any = boto3.client(
            "dynamodb", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers
        events: Any = self.client.meta.events
        events.register("provide-client-params.dynamodb.*", self._read)
        events.register("before-call.dynamodb.*", self._answer)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """The requests of one operation, such as `GetItem`."""
        return [request for name, request in self.requests if name == operation]

    def _read(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        for part in parts(params):
            if why := refusal(part):
                raise ClientError({"Error": {"Code": "ValidationException", "Message": why}}, model.name)
        self.requests.append((model.name, params))

    def _answer(self, model: Any, **_: Any) -> tuple[SimpleNamespace, Mapping[str, Any]]:
        answer = self._answers[model.name]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if callable(answer):
            answer = answer(self.requests[-1][1])
        # botocore reads no more of it.
        return SimpleNamespace(status_code=400 if "Error" in answer else 200), answer
