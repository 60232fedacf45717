"""One list of requests with their answers, for the laptop and for the cloud.

Both lead to the same functions, so a difference is one of the way there: of paths, parameters, queries, methods,
headers, or bodies.
"""

from __future__ import annotations

import http.client
import json
import unittest
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from pipeline import CART, INVOICE, Pipeline

ORDER = "/api/order"
CART_PATH = f"{ORDER}/cart.json"
MISSING = "ord_01JDB4XK00EXAMPVE0RDER0001"
AGREEMENT = {"partner": "stripe", "partnerCustomerId": "cus_1", "paymentMethodId": "pm_1"}
JSON = {"Content-Type": "application/json"}

# Customers as identity providers and shops name them, each as it stands in a path. API Gateway does not hand on a path
# with an encoded "%", "?", or "/" as it was sent (docs/api.md, Billing agreements).
CUSTOMERS = {
    "8081": "8081",
    "auth0|abc": "auth0%7Cabc",
    "auth0|xyz": "auth0%7cxyz",
    "a b": "a%20b",
    "a+b": "a+b",
    "a+c": "a%2Bc",
    "l@example.com": "l%40example.com",
    "M\u00fcller": "M%C3%BCller",
    "\u05dc\u05d9\u05d8\u05dc": "%D7%9C%D7%99%D7%98%D7%9C",
    "a:b;c,d=e&f": "a:b;c,d=e&f",
    "~-._!$'()*": "~-._!$'()*",
    "a#b": "a%23b",
    "none.json": "none.json",
}


@dataclass(frozen=True)
class Request:
    """One request, sent byte for byte, and its answer: the status, and the problem's code if a function refuses it."""

    answer: str
    method: str
    target: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def post(answer: str, path: str, body: object, **headers: str) -> Request:
    return Request(answer, "POST", path, json.dumps(body).encode(), {**JSON, **headers})


def routes() -> Iterator[Request]:
    """Orders, what is no order, and what is no route."""
    for answer, path in (
        ("404 order_not_found", f"{ORDER}/{MISSING}"),
        ("404 order_not_found", f"{ORDER}/none"),
        ("404 order_not_found", f"{ORDER}/no%20ne?x=1&x=2"),
        ("404", f"{ORDER}/"),
        ("404", "/"),
        ("404", "/api"),
        ("404", "/nothing/here"),
        ("404", f"{ORDER}/{MISSING}/more"),
    ):
        yield Request(answer, "GET", path)
    # A query arrives as it was sent, its encoded and its bare characters alike.
    for answer, query in (
        ("200", ""),
        ("200", "customerId=auth0%7Cabc&from=2026-01-01T00:00:00%2B02:00&limit=1"),
        ("200", "reference=A%2F1%20%25&to=2099-01-01T00:00:00Z"),
        ("422 invalid_fields", "limit=1&limit=1"),
        ("422 invalid_fields", "limit=0"),
        ("422 invalid_fields", "cursor=aa"),
    ):
        yield Request(answer, "GET", f"/api/orders?{query}")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        yield Request("404", method, CART_PATH)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        yield Request("404", method, f"{ORDER}/{MISSING}")
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    yield Request("404", "OPTIONS", CART_PATH, None, preflight)


def bodies() -> Iterator[Request]:
    cart = json.dumps(CART).encode()
    yield post("201", CART_PATH, CART)
    yield post("201", f"{CART_PATH}?a=b%20c&d=%7C", CART)
    yield post("422 invalid_fields", CART_PATH, {})
    yield post("422 invalid_fields", CART_PATH, [])
    yield post("422 invalid_fields", CART_PATH, CART | {"customerId": "auth0|abc", "note": "x"})
    yield post("413 body_too_large", CART_PATH, CART | {"note": "x" * 70_000})
    yield post("404 order_not_found", f"{ORDER}/invoice.json", INVOICE | {"orderId": MISSING})
    for answer, body, headers in (
        ("400 empty_body", None, {}),
        ("400 empty_body", b"", JSON),
        ("400 malformed_json", b"{", JSON),
        ("201", cart, {}),
        ("201", cart, {"Content-Type": "application/json; charset=utf-8"}),
        ("201", cart, {"Content-Type": "application/vnd.shop+json"}),
        ("415 unsupported_media_type", cart, {"Content-Type": "text/plain"}),
        ("415 unsupported_media_type", b"\xff\xfe", {"Content-Type": "application/octet-stream"}),
        ("422 invalid_fields", '{"customerId": "M\u00fcller"}'.encode(), JSON),
    ):
        yield Request(answer, "POST", CART_PATH, body, headers)


def headers() -> Iterator[Request]:
    for answer, name, value in (
        ("201", "X-Forwarded-Proto", "https,http"),
        ("201", "X-Forwarded-Host", "a b"),
        ("201", "X-Forwarded-Port", "x"),
        ("201", "Traceparent", "00-x"),
        ("201", "Expect-Nothing", ""),
        ("422 card_number_refused", "Idempotency-Key", "4242424242424242"),
    ):
        yield post(answer, CART_PATH, CART, **{name: value})


def queries_and_customers() -> Iterator[Request]:
    for answer, query in (
        ("404 billing_agreement_not_found", "partner=stripe"),
        ("404 billing_agreement_not_found", "partner=strip%65"),
        ("422 invalid_fields", "partner=other"),
        ("422 invalid_fields", "other=1"),
        ("422 invalid_fields", "partner="),
        ("422 invalid_fields", "a+b=c%20d"),
    ):
        yield Request(answer, "DELETE", f"/api/customer/none/billing?{query}")
    yield Request("422 card_number_refused", "GET", "/api/customer/4242424242424242/billing")
    yield Request("422 card_number_refused", "GET", "/api/customer/4242%204242%204242%204242/billing")
    yield Request("422 card_number_refused", "GET", f"{ORDER}/{MISSING}?x=4242%2D4242-4242-4242")
    for customer, path in CUSTOMERS.items():
        agreements = f"/api/customer/{path}/billing"
        yield Request(f"200 {customer}: none", "GET", agreements)
        yield post("201", "/api/customer/billing.json", AGREEMENT | {"customerId": customer})
        yield Request(f"200 {customer}: stripe approved", "GET", agreements)
        yield Request(f"200 {customer}: stripe revoked", "DELETE", f"{agreements}?partner=stripe")
        yield Request(f"200 {customer}: stripe revoked", "GET", agreements)


class AlikeTests(unittest.TestCase):
    """The subclass has the pipeline that the requests go to."""

    pipeline: Pipeline
    # What its gateway answers to a method that no route has, where that is not API Gateway's 404.
    gateway: ClassVar[Mapping[str, str]] = {}

    def test_every_request_has_its_answer(self) -> None:
        for number, request in enumerate((*routes(), *bodies(), *headers(), *queries_and_customers())):
            with self.subTest(f"{number} {request.method} {request.target} {request.headers}"):
                self.assertEqual(self.answered(request), self.gateway.get(request.method, request.answer))

    def answered(self, request: Request) -> str:
        """The status, and what identifies a function's answer: the problem's code, or the customer and its agreements."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.pipeline.url).netloc, timeout=30)
        try:
            sent = {**self.pipeline.headers, **request.headers}
            connection.putrequest(request.method, request.target, skip_host="Host" in sent, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            if request.body is not None or request.method == "POST":
                connection.putheader("Content-Length", str(len(request.body or b"")))
            connection.endheaders(request.body)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        try:
            body = json.loads(text)
        except ValueError:
            body = {}
        said = body.get("code", "")
        if said:
            self.assertEqual(answer.headers["content-type"], "application/problem+json")
        if "agreements" in body:
            agreements = (f"{each['partner']} {each['status']}" for each in body["agreements"])
            said = f"{body['customerId']}: {', '.join(agreements) or 'none'}"
        return f"{answer.status} {said}".strip()
