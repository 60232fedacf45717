"""That DynamoDB takes every expression of ops/: each is sent here, to a client that knows the reserved words."""

from __future__ import annotations

import ast
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from played_dynamodb import RESERVED, PlayedDynamoDb, refusal

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

import console  # noqa: E402  (the path above makes it importable)
from actions import requeue  # noqa: E402
from mails import Ledgers, Resent, Seen, mark_as_seen, resend  # noqa: E402
from survey import MAIL_FIELDS, MAIL_NAMES, ORDER_FIELDS, ORDER_NAMES, batch_get, parked_mails, promised_mails, waiting_orders  # noqa: E402  # noqa: E402

NOW = 1_795_428_725_000
ORDER = "ord_01JDB4XK00EXAMPVE0RDER0001"
MAIL = f"{ORDER}/OrderShipped"


def a_row(state: str) -> dict[str, Any]:
    return {"Item": {"emailId": {"S": MAIL}, "state": {"S": state}, "claimedAt": {"N": "1"}}}


def cancelled(*reasons: str) -> dict[str, Any]:
    reason = [{"Code": code} for code in reasons]
    return {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reason}


def every_request() -> list[dict[str, Any]]:
    """The requests of every call of ops/ to DynamoDB, with each of its expressions."""
    dynamodb = PlayedDynamoDb(
        GetItem=[{"Item": {"orderId": {"S": ORDER}}}, a_row("unconfirmed"), a_row("sending")],
        BatchGetItem={"Responses": {}},
        Query={"Items": []},
        Scan={"Items": []},
        UpdateItem={},
        TransactWriteItems=[cancelled("None", "ConditionalCheckFailed"), {}],
    )
    client = dynamodb.client
    tables = Ledgers(client, "Orders", "Emails")
    client.get_item(TableName="Orders", Key={"orderId": {"S": ORDER}}, **console.PROJECTION)
    assert resend(tables, MAIL, NOW, sure=False) is Resent.QUEUED
    assert mark_as_seen(tables, MAIL, NOW) is Seen.MARKED
    requeue(client, "Orders", ORDER, NOW)
    waiting_orders(client, "Orders")
    promised_mails(client, "Emails")
    list(batch_get(client, "Orders", "orderId", [ORDER], ORDER_FIELDS, ORDER_NAMES))
    list(batch_get(client, "Emails", "emailId", [MAIL], MAIL_FIELDS, MAIL_NAMES))
    list(parked_mails(client, "Emails", NOW))
    return [request for _, request in dynamodb.requests]


def texts_of_expressions() -> Iterator[tuple[str, str]]:
    """The parts of ops/'s expressions that the source spells out, each with its file."""
    for path in sorted((ROOT / "ops").glob("*.py")):
        module = ast.parse(path.read_text())
        for scope in [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.Module)]:
            for value in expressions_in(scope):
                for text in texts(value, scope, module):
                    yield path.name, text


def expressions_in(scope: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        if isinstance(node, ast.keyword) and (node.arg or "").endswith("Expression"):
            yield node.value
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and str(key.value).endswith("Expression"):
                    yield value


def texts(value: ast.expr, *scopes: ast.AST) -> Iterator[str]:
    """The texts in a value, and in what is assigned to the names in it."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        if isinstance(node, ast.Name):
            for assigned in assignments(node.id, *scopes):
                yield from texts(assigned)


def assignments(name: str, *scopes: ast.AST) -> Iterator[ast.expr]:
    for node in (node for scope in scopes for node in ast.walk(scope)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        if isinstance(node, ast.Assign | ast.AugAssign) and name in [
            target.id for target in targets if isinstance(target, ast.Name)
        ]:
            yield node.value


class TestExpressions(unittest.TestCase):
    def test_each_is_taken_and_none_is_left_out(self) -> None:
        sent = str(every_request())
        found = list(texts_of_expressions())
        self.assertGreater(len(found), 10)
        for file, text in found:
            self.assertIn(text, sent, file)

    def test_a_reserved_word_is_refused_wherever_it_stands_and_however_it_is_written(self) -> None:
        self.assertEqual((len(RESERVED), sorted(RESERVED)[0], sorted(RESERVED)[-1]), (573, "ABORT", "ZONE"))
        for kind, text in (
            ("ProjectionExpression", "orderId, Total"),
            ("ProjectionExpression", "payment.state"),
            ("UpdateExpression", "SET status = :now"),
            ("UpdateExpression", "REMOVE items"),
            ("ConditionExpression", "attribute_exists(state)"),
            ("FilterExpression", "size(name) > :now"),
            ("KeyConditionExpression", "year = :now"),
        ):
            self.assertIn("reserved keyword", refusal({kind: text}) or "", text)
        for text in ("SET #total = :now REMOVE holder ADD resends :now", "attribute_exists(#total) AND (dueAt IN (:now))"):
            values = {"ExpressionAttributeNames": {"#total": "total"}, "ExpressionAttributeValues": {":now": {"N": "1"}}}
            self.assertIsNone(refusal({"UpdateExpression": text, **values}))
            self.assertIn("used", refusal({"UpdateExpression": text}) or "")

    def test_a_refusal_reaches_the_caller_also_from_within_a_batch(self) -> None:
        client = PlayedDynamoDb().client
        key = {"orderId": {"S": ORDER}}
        with self.assertRaisesRegex(ClientError, "reserved keyword: total"):
            client.get_item(TableName="Orders", Key=key, ProjectionExpression="total")
        with self.assertRaisesRegex(ClientError, "reserved keyword: total"):
            client.batch_get_item(RequestItems={"Orders": {"Keys": [key], "ProjectionExpression": "total"}})


if __name__ == "__main__":
    unittest.main()
