"""Sends the requests of api/orderflow.http in their order, as the HTTP clients of editors read that file."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = re.compile(r"@(\w+) = (.+)")
# The status and the code that are promised, and whether the chain may be at the same step.
PROMISE = re.compile(r"# (?P<status>\d{3})(?: (?P<code>\w+))?(?P<races>, or 409 in_progress .+: send it again)?")
REFERENCE = re.compile(r"(\w+)\.response\.body\.\$\.(\w+)")
# How long the chain may be at a step, in seconds.
PATIENCE = 30


@dataclass(frozen=True)
class Request:
    """One block of the file, with its variables not yet replaced."""

    title: str
    name: str | None
    variables: dict[str, str]
    status: int
    code: str | None
    races: bool
    method: str
    url: str
    headers: dict[str, str]
    body: str | None

    @classmethod
    def parse(cls, block: str) -> Request:
        head, _, body = block.partition("\n\n")
        title, *lines = head.splitlines()
        promised = [promise for line in lines if (promise := PROMISE.fullmatch(line))]
        if len(promised) != 1:
            raise AssertionError(f"{title}: it does not say its status once")
        [promise] = promised
        names = [line.removeprefix("# @name ") for line in lines if line.startswith("# @name ")]
        rest = [line for line in lines if not line.startswith(("#", "@"))]
        method, _, url = rest[0].partition(" ")
        return cls(
            title=title.strip(),
            name=names[0] if names else None,
            variables=variables(lines),
            status=int(promise["status"]),
            code=promise["code"],
            races=bool(promise["races"]),
            method=method,
            url=url,
            headers={name: value for name, _, value in (line.partition(": ") for line in rest[1:])},
            body=body.strip() or None,
        )


@dataclass
class Collection:
    """The file's requests, and what its variables and its named requests stand for."""

    requests: list[Request]
    variables: dict[str, str]
    answers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Collection:
        top, *blocks = re.split(r"^###", path.read_text(), flags=re.MULTILINE)
        return cls([Request.parse(block) for block in blocks], variables(top.splitlines()))

    def send(self) -> Iterator[tuple[Request, int, Any]]:
        """Each request with the status and the body of its answer."""
        for request in self.requests:
            self.variables |= request.variables
            deadline = time.monotonic() + PATIENCE
            status, answer = self._answer(request)
            while request.races and status == 409 and answer["code"] == "in_progress" and time.monotonic() < deadline:
                time.sleep(0.2)
                status, answer = self._answer(request)
            if request.name:
                self.answers[request.name] = answer
            yield request, status, answer

    def _answer(self, request: Request) -> tuple[int, Any]:
        body = None if request.body is None else self.filled(request.body).encode()
        headers = {name: self.filled(value) for name, value in request.headers.items()}
        asked = urllib.request.Request(self.filled(request.url), body, headers, method=request.method)
        try:
            answer = urllib.request.urlopen(asked, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, json.load(answer)

    def filled(self, text: str) -> str:
        """The text with each `{{…}}` replaced; a variable may stand for another one."""
        return re.sub(r"\{\{(.+?)\}\}", lambda found: self._value(found[1]), text)

    def _value(self, name: str) -> str:
        if name == "$timestamp":
            return str(int(time.time()))
        if reference := REFERENCE.fullmatch(name):
            return str(self.answers[reference[1]][reference[2]])
        return self.filled(self.variables[name])


def variables(lines: list[str]) -> dict[str, str]:
    """The variables that these lines define."""
    return {found[1]: found[2] for line in lines if (found := VARIABLE.fullmatch(line))}
