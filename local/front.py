"""The local stack's only door: passes the API on to the functions, taps every invocation, and serves the console.

Requests to the API and invocations are passed on byte by byte, so a caller meets `cargo lambda watch` as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from recorder import ORDER_ID, Recorder, Step, now

HEAD = 64 * 1024
# What is kept of a body for the console.
KEPT = 64 * 1024
# How long an invocation may run before `kill` strikes, in seconds: most take longer.
KILLED_AFTER = 0.01
INVOCATION = re.compile(r"/2015-03-31/functions/([a-z-]+)/invocations")


@dataclass(frozen=True)
class Request:
    """The parsed head of a request. `head` is as it was sent."""

    method: str
    target: str
    headers: dict[str, str]
    head: bytes

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]

    @property
    def segments(self) -> list[str]:
        """The path's segments, decoded."""
        return [urllib.parse.unquote(segment) for segment in self.path.strip("/").split("/")]


@dataclass(frozen=True)
class Response:
    """An answer of the console."""

    status: int
    content_type: str
    body: bytes

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Response:
        """JSON, with decimals as numbers."""
        return cls(status, "application/json", json.dumps(value, default=_plain).encode())

    def to_bytes(self) -> bytes:
        """The whole answer. The page may load nothing from elsewhere, and no other page may frame it."""
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
            "font-src 'self' data:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'self'"
        )
        head = (
            f"HTTP/1.1 {self.status} {'OK' if self.status < 400 else 'Error'}\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
            f"Content-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + self.body


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


# A page of the console: from method, path, query, and body to an answer; None if there is no such page.
Page = Callable[[Request, bytes], Response | None]


class Front:
    """Listens on `port`; `with` stops it."""

    def __init__(self, port: int, watch: int | None, recorder: Recorder) -> None:
        """`watch` is the port of `cargo lambda watch`; without one, only pages are served."""
        self._port, self._watch, self._recorder = port, watch, recorder
        self.page: Page = lambda _request, _body: None
        # Called before an invocation is passed on, with the Lambda, the binary, and the event.
        self.before: Callable[[str, str, bytes], str | None] = lambda _function, _binary, _event: None
        self.crash: Callable[[], None] = lambda: None
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Front:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=HEAD, reuse_address=True)
        )
        self._ready.set()
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                writer.write(Response(431, "text/plain", b"The headers are too large.\n").to_bytes())
            else:
                await self._answer(parse(head), reader, writer)
            await writer.drain()
        writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        invoked = INVOCATION.fullmatch(request.path)
        if invoked and self._watch:
            await self._invoke(request, invoked[1], reader, writer)
        elif request.path.startswith("/api/") and self._watch:
            await self._call(request, reader, writer)
        else:
            await self._show(request, reader, writer)

    async def _show(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(min(int(request.headers.get("content-length") or 0), KEPT))
        answer = await self._loop.run_in_executor(None, self.page, request, body)
        if answer:
            writer.write(answer.to_bytes())
        elif self._watch is None:
            writer.write(Response(404, "text/plain", b"There is no such page.\n").to_bytes())
        else:
            await self._pass_on(request.head + body, reader, writer)

    async def _call(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        started = now()
        sent, answered = await self._pass_on(request.head, reader, writer)
        status, answer = status_of(answered)
        orders = frozenset(ORDER_ID.findall(request.target + sent.decode(errors="replace") + answer))
        step = Step("HTTP", f"{request.method} {request.target} → {status}", orders, started)
        outcome = "ok" if status < 400 else "refused" if status < 500 else "failed"
        step.finish(outcome, body=as_json(sent.decode(errors="replace")), answer=as_json(answer))
        self._recorder.add(step)

    async def _invoke(self, request: Request, binary: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(int(request.headers.get("content-length") or 0))
        function = request.headers.get("x-amzn-lambda-function-name", binary)
        steps = [self._recorder.add(step) for step in invocation_steps(function, binary, body)]
        fault = self.before(function, binary, body)
        if fault:
            for step in steps:
                step.detail["fault"] = fault
        if fault == "lose":
            answered = Response.of_json({"batchItemFailures": []}).to_bytes()
            writer.write(answered)
        elif fault == "refuse":
            answered = Response.of_json({"errorMessage": "refused by the console", "errorType": "Fault"}, 500).to_bytes()
            writer.write(answered)
        else:
            if fault == "double":
                await self._send(request.head + body)
            passing = asyncio.create_task(self._pass_on(request.head + body, reader, writer))
            if fault == "kill":
                await asyncio.sleep(KILLED_AFTER)
                await self._loop.run_in_executor(None, self.crash)
            try:
                _, answered = await passing
            except OSError:
                answered = b""
        status, answer = status_of(answered)
        failures = failed_items(answer)
        for step in steps:
            if fault in ("lose", "kill", "refuse"):
                step.finish("fault", answer=FAULTS[fault])
            elif status >= 400 or not status:
                step.finish("failed", answer=as_json(answer))
            elif step.detail.get("messageId") in failures or "errorMessage" in answer:
                step.finish("failed", answer="not yet; the message is kept")
            else:
                step.finish("ok")

    async def _send(self, raw: bytes) -> bytes:
        """Passes an invocation on and drops its answer."""
        upstream, to = await asyncio.open_connection("127.0.0.1", self._watch)
        to.write(closing(raw))
        await to.drain()
        answered = await upstream.read()
        to.close()
        return answered

    async def _pass_on(self, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bytes]:
        """Passes bytes on in both directions until the answer ends. Returns what was kept of the body and of the answer."""
        upstream, to = await asyncio.open_connection("127.0.0.1", self._watch)
        to.write(closing(raw))
        sent, answered = bytearray(), bytearray()

        async def pump() -> None:
            while part := await reader.read(HEAD):
                sent.extend(part[: KEPT - len(sent)])
                to.write(part)
                await to.drain()

        pumping = asyncio.create_task(pump())
        try:
            while part := await upstream.read(HEAD):
                answered.extend(part[: KEPT - len(answered)])
                writer.write(part)
                await writer.drain()
        finally:
            pumping.cancel()
            to.close()
        return bytes(sent), bytes(answered)


# What a fault did, in the operator's words.
FAULTS = {
    "lose": "the console lost this message: its step was never carried out",
    "kill": "the console killed the functions in the middle of this invocation",
    "refuse": "the console refused this invocation",
}


def parse(head: bytes) -> Request:
    """Reads a request's head leniently: what cannot be read is passed on as it is."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = first.partition(" ")
    target = rest.rpartition(" ")[0]
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
    return Request(method, target, headers, head)


def closing(raw: bytes) -> bytes:
    """The request with `Connection: close`, so that the end of the answer is the end of the connection."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


def status_of(answered: bytes) -> tuple[int, str]:
    """The status and the body of a whole answer; 0 without one."""
    head, _, body = answered.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    if b"transfer-encoding: chunked" in head.lower():
        body = unchunked(body)
    return status, body.decode(errors="replace")


def unchunked(body: bytes) -> bytes:
    """The content of chunks (RFC 9112, section 7.1)."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if not length:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return whole


def as_json(text: str) -> object:
    """JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def failed_items(answer: str) -> set[str]:
    """The messages of a batch that the function kept."""
    read = as_json(answer)
    failures = read.get("batchItemFailures", []) if isinstance(read, dict) else []
    return {str(each.get("itemIdentifier")) for each in failures if isinstance(each, dict)}


def invocation_steps(function: str, binary: str, event: bytes) -> list[Step]:
    """The steps of an invocation: for each message how long it waited in its queue, and its work."""
    read = as_json(event.decode(errors="replace"))
    records = read.get("Records", []) if isinstance(read, dict) else []
    found: list[Step] = []
    for record in records if isinstance(records, list) else []:
        orders = frozenset(ORDER_ID.findall(json.dumps(record)))
        if record.get("eventSource") == "aws:dynamodb":
            kind = (
                record.get("dynamodb", {}).get("NewImage", {}).get("event", {}).get("M", {}).get("type", {}).get("S", "a write")
            )
            found.append(Step("relay", f"relays {kind}", orders, outcome="running", service=binary))
            continue
        queue = str(record.get("eventSourceARN", "")).rpartition(":")[2]
        attributes = record.get("attributes", {})
        message = as_json(record.get("body", ""))
        kind = message.get("type", "a message") if isinstance(message, dict) else "a message"
        receives = int(attributes.get("ApproximateReceiveCount", 1))
        waited = Step("queue", f"{kind} in {logical_id(queue)}", orders, detail={"receives": receives, "message": message})
        waited.at = int(attributes.get("SentTimestamp", waited.at))
        waited.finish("ok" if receives == 1 else "failed")
        found.append(waited)
        again = f" (receive {receives})" if receives > 1 else ""
        work = Step("worker", f"{logical_id(function)} takes {kind}{again}", orders, outcome="running", service=binary)
        work.detail = {"messageId": record.get("messageId"), "message": message}
        found.append(work)
    return found


def logical_id(name: str) -> str:
    """The logical ID in a physical one: `orderflow-PaymentWorker-1A2B` is PaymentWorker."""
    parts = name.split("-")
    return parts[1] if len(parts) > 1 else name
