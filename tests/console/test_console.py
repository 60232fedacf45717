"""The console in headless Chromium: an order to its shipment, a fault and its repair, mails, a dead letter; the API's reference.

With the variable SCREENSHOTS it also writes the pictures of docs/console.md to that directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, ClassVar

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "local"))

# The path above makes them importable.
from localaws import MiniStack  # noqa: E402
from processes import free_port  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or "chromium"
# Without these, Chromium calls its makers' hosts at every start.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Milliseconds. A killed step is repaired by its queue or by the sweep.
SOON, HEALED = 30_000, 400_000
SCREENSHOTS = os.environ.get("SCREENSHOTS")


class TestConsole(unittest.TestCase):
    pipeline: ClassVar[subprocess.Popen[str]]
    url: ClassVar[str]
    aws: ClassVar[MiniStack]
    playwright: ClassVar[Playwright]
    browser: ClassVar[Browser]

    @classmethod
    def setUpClass(cls) -> None:
        port, aws_port = free_port(), free_port()
        cls.url = f"http://localhost:{port}/"
        cls.aws = MiniStack(aws_port, Path(tempfile.gettempdir()))
        cls.pipeline = subprocess.Popen(
            [sys.executable, str(ROOT / "local" / "run.py")],
            cwd=ROOT,
            env=os.environ | {"PORT": str(port), "AWS_PORT": str(aws_port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        cls.addClassCleanup(cls._stop)
        said = []
        for line in _output(cls.pipeline):
            said.append(line)
            if line.startswith("Ready"):
                break
        else:
            raise AssertionError("".join(said))
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        cls.addClassCleanup(cls.browser.close)

    @classmethod
    def _stop(cls) -> None:
        cls.pipeline.send_signal(signal.SIGINT)
        cls.pipeline.communicate(timeout=60)

    def setUp(self) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page = self.new_page(1200, 900)

    def tearDown(self) -> None:
        self.assertEqual(self.errors, [])
        self.assertEqual(self.elsewhere, [], "requests that leave the machine")

    def new_page(self, width: int, height: int, scheme: str = "light") -> Page:
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        self.addCleanup(context.close)
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: None if self.is_ours(request.url) else self.elsewhere.append(request.url))
        return page

    def is_ours(self, url: str) -> bool:
        return url.startswith((self.url, "data:", "about:"))

    def place(self) -> None:
        """Places the README's order and opens its page."""
        self.page.goto(f"{self.url}#/")
        self.page.click("#place")
        self.page.click("#watch a")
        self.page.wait_for_selector("#summary")

    def shipped(self, milliseconds: int) -> None:
        self.page.wait_for_selector('#summary .word:has-text("shipped")', timeout=milliseconds)

    def picture(self, name: str, *, whole: bool = False) -> None:
        if SCREENSHOTS:
            self.page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=whole)

    def test_an_order_runs_to_its_shipment_in_all_lanes(self) -> None:
        self.place()
        self.shipped(SOON)
        for lane in ("HTTP", "table", "relay", "queue", "worker", "partner", "carrier", "SES"):
            self.page.wait_for_selector(f'.step[data-lane="{lane}"]')
        self.picture("order")
        # Each step opens its message.
        self.page.click('.step[data-lane="queue"] summary')
        self.page.wait_for_selector('.step[data-lane="queue"] pre:has-text("CartUpdated")')
        self.page.goto(f"{self.url}#/")
        self.page.wait_for_selector("text=No invoice was charged twice.")
        self.page.goto(f"{self.url}#/orders")
        self.page.fill("#filter", "shipped")
        self.page.wait_for_selector('td .word:has-text("shipped")')

    def test_orders_are_found_by_reference_customer_status_and_order_id(self) -> None:
        self.place()
        seed = self.page.inner_text("h2 .mono")
        self.page.goto(f"{self.url}#/")
        self.page.click("text=An order of your own")
        self.page.fill('[name="reference"]', "shop 7/A")
        self.page.click("text=Place this order")
        own = self.page.inner_text("#watch a")
        self.page.goto(f"{self.url}#/orders")
        # The live list, by the beginning of an ID and by a reference.
        for text, order in ((seed[:-1].lower(), seed), ("shop 7", own)):
            self.page.fill("#filter", text)
            self.page.wait_for_selector('#count:has-text("1 of")')
            self.assertEqual(self.listed(), [order])
        self.page.fill("#filter", "")
        self.find("1 order found.", reference="shop 7/A")
        self.assertEqual(self.listed(), [own])
        self.page.wait_for_selector(f"#call:has-text(\"curl -s '{self.url}api/orders?reference=shop%207%2FA'\")")
        self.page.wait_for_selector('#answer:has-text("Answer 200")')
        self.find("orders found.", customerId="8080")
        self.assertEqual(self.listed()[:2], [own, seed])
        self.picture("found")
        self.find("0 orders found.", reference="shop 7/A", customerId="8082")
        self.page.select_option('[name="status"]', "cancelled")
        self.find("0 orders found.", reference="shop 7/A")
        self.page.select_option('[name="status"]', "")
        # A whole ID opens the order, and the search is still there on the way back.
        self.page.fill("#filter", own)
        self.page.wait_for_selector(f'h2:has-text("{own}")')
        self.page.go_back()
        self.page.wait_for_selector("#call")
        self.page.click("text=Show the live list")
        self.page.wait_for_selector(f'td:has-text("{seed}")')

    def test_more_orders_than_fit_a_page_are_found_by_keyboard(self) -> None:
        cart = {"customerId": "of-many", "items": [{"productId": "1", "quantity": 1, "price": 1}]}
        for number in range(21):
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"many-{number}"}
            urllib.request.urlopen(
                urllib.request.Request(f"{self.url}api/order/cart.json", json.dumps(cart).encode(), headers), timeout=30
            ).close()
        self.page.goto(f"{self.url}#/orders")
        self.find("20 orders found. There may be more.", customerId="of-many")
        self.page.focus("#more")
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector('#count:text-is("21 orders found.")')
        self.assertEqual(len(set(self.listed())), 21)
        self.assertEqual(self.page.evaluate("document.activeElement.textContent"), self.listed()[20])
        self.page.wait_for_selector('#call:has-text("&cursor=")')

    def find(self, count: str, **searched: str) -> None:
        """Searches through the API by these fields only, and waits for its answer and this count."""
        for name in ("customerId", "reference"):
            self.page.fill(f'[name="{name}"]', searched.get(name, ""))
        # The count before the answer is not waited for: until then, the page says that it searches.
        with self.page.expect_response(lambda answer: answer.url.startswith(f"{self.url}api/orders")):
            self.page.keyboard.press("Enter")
        self.page.wait_for_selector(f'#count:has-text("{count}")')

    def listed(self) -> list[str]:
        """The orders in the list."""
        return self.page.locator("tbody tr td:first-child").all_inner_texts()

    def test_a_killed_step_heals_and_the_ledger_stays_at_one_charge(self) -> None:
        self.page.goto(f"{self.url}#/faults")
        self.page.click("text=Kill the functions")
        self.page.wait_for_selector("text=kill at PaymentWorker")
        self.place()
        self.page.wait_for_selector(".step.fault", timeout=HEALED)
        self.shipped(HEALED)
        self.picture("healed", whole=True)
        order = self.page.inner_text("h2 .mono")
        with urllib.request.urlopen(f"{self.url}console/state", timeout=30) as answer:
            charges = [each for each in json.load(answer)["ledger"] if order[4:] in each["invoiceId"]]
        self.assertEqual(len(charges), 1)

    def test_a_doubled_message_and_a_throttled_partner_charge_once(self) -> None:
        self.page.goto(f"{self.url}#/faults")
        self.page.click("text=Deliver the message twice")
        self.page.wait_for_selector("text=double at PaymentWorker")
        self.place()
        self.shipped(HEALED)
        self.page.goto(f"{self.url}#/faults")
        self.page.click("text=Throttle the partner")
        self.page.wait_for_selector("text=Let the partner answer again")
        self.place()
        self.page.wait_for_selector('.step.failed[data-lane="worker"]')
        order = self.page.url
        self.page.goto(f"{self.url}#/")
        self.page.wait_for_selector('[data-age="payment"]:has-text("the oldest for")')
        self.page.goto(f"{self.url}#/faults")
        self.page.click("text=Clear all faults")
        self.page.wait_for_selector("text=Throttle the partner")
        self.page.goto(order)
        self.page.click("text=Check now")
        self.page.goto(f"{self.url}#/")
        self.page.click("text=Run the sweep now")
        self.page.goto(order)
        self.shipped(HEALED)
        self.page.goto(f"{self.url}#/")
        self.page.wait_for_selector("text=No invoice was charged twice.")

    def test_a_part_of_what_was_paid_is_refunded_with_a_mail_of_its_own(self) -> None:
        self.place()
        self.shipped(SOON)
        amount = self.page.locator('input[aria-label^="Amount to refund"]')
        amount.fill("25.5")
        self.page.click('button:text-is("Refund")')
        # An amount that is typed while the order changes stays.
        amount.fill("10")
        self.page.wait_for_selector('pre:has-text("\\"refundedAmount\\": 25.5")')
        self.page.wait_for_selector('.step[data-lane="partner"]:has-text("refund of 25.5: refunded")')
        self.page.wait_for_selector('#summary pre:has-text("\\"state\\": \\"refunded\\"")', state="attached")
        self.assertEqual(amount.input_value(), "10")
        self.page.click('button:text-is("Refund")')
        self.page.wait_for_selector('pre:has-text("\\"refundedAmount\\": 35.5")')
        self.page.wait_for_selector('.step[data-lane="partner"]:has-text("refund of 10: refunded")')
        self.page.goto(f"{self.url}#/mails")
        # Two mails. The page's content security policy forbids `wait_for_function`, which polls by `eval`.
        self.page.locator('td button:has-text("is on its way")').nth(1).wait_for()

    def test_mails_are_shown_as_the_customer_sees_them(self) -> None:
        self.place()
        self.shipped(SOON)
        self.page.goto(f"{self.url}#/mails")
        self.page.click('td button:has-text("is on its way")')
        frame = self.page.frame_locator("iframe")
        frame.locator("text=Lital Hay").first.wait_for()
        light = self.background()
        self.page.click('button:text-is("dark")')
        self.page.wait_for_selector("iframe.dark")
        self.page.frame_locator("iframe").locator("text=Lital Hay").first.wait_for()
        self.assertNotEqual(self.background(), light)
        self.picture("mail")
        self.page.click('button:text-is("narrow")')
        self.page.wait_for_selector("iframe.narrow")
        self.page.click('button:text-is("text")')
        self.page.wait_for_selector('pre:has-text("Hello Lital Hay")')
        # Every kind, also of what this order never met.
        self.page.click("text=Every kind of mail")
        self.page.click('button:has-text("OrderCancelled, full")')
        self.page.wait_for_selector('#subject:has-text("cancelled")')

    def background(self) -> str:
        color: str = self.page.frames[-1].evaluate("getComputedStyle(document.body).backgroundColor")
        return color

    def bury(self, order: str) -> None:
        """Puts the message that asks for an order's payment into the dead-letter queue, and waits until the page shows it."""
        letter = {
            "specversion": "1.0",
            "id": f"{order}/2",
            "source": "/orderflow",
            "type": "InvoiceCreated",
            "time": "2026-01-01T00:00:00Z",
            "timemillis": "1767225600000",
            "subject": order,
        }
        url = self.aws.outputs("orderflow")["PaymentDeadLettersUrl"]
        self.aws.client("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(letter))
        self.page.goto(f"{self.url}#/")
        self.page.wait_for_selector(f'td:has-text("{order}")')
        self.page.wait_for_selector(".alert")

    def test_a_dead_letter_is_shown_and_redriven_or_dropped(self) -> None:
        self.page.goto(f"{self.url}#/")
        self.page.click("text=Customers with another outcome")
        self.page.click('button:text-is("sandbox-outage")')
        self.page.click("#watch a")
        self.page.wait_for_selector('#summary .word:has-text("invoiced")')
        self.bury(self.page.inner_text("h2 .mono"))
        self.page.click('button[aria-label="Redrive payment"]')
        self.page.wait_for_selector('#said:has-text("Moved back to the payment queue: 1")')
        # One whose step is done would do nothing: it is left, and may be dropped.
        self.place()
        self.shipped(SOON)
        self.bury(self.page.inner_text("h2 .mono"))
        self.page.click('button[aria-label="Redrive payment"]')
        self.page.wait_for_selector('#said:has-text("Moved back to the payment queue: 0. Left: 1")')
        # Nothing is deleted before the operator has confirmed it. Without a handler, Playwright declines.
        self.page.click('button:text-is("Drop")')
        self.page.once("dialog", lambda dialog: dialog.accept())
        self.page.click('button:text-is("Drop")')
        self.page.wait_for_selector('#said:has-text("Dropped from the payment queue\'s dead letters: 1")')

    def test_parked_mails_of_the_whole_ledger_are_read_only_when_that_is_asked_for(self) -> None:
        own, requested = "ord_01JDB4XK00EXAMPVE0RDER0001/OrderShipped", "request/0af7"
        dynamodb, table = self.aws.client("dynamodb"), self.aws.outputs("orderflow")["EmailsTableName"]
        for mail in (own, requested):
            at = {"N": str(time.time_ns() // 1_000_000)}
            row = {"emailId": {"S": mail}, "state": {"S": "unconfirmed"}, "claimedAt": at, "settledAt": at}
            dynamodb.put_item(TableName=table, Item=row)
            self.addCleanup(dynamodb.delete_item, TableName=table, Key={"emailId": {"S": mail}})
        self.page.goto(f"{self.url}#/")
        self.page.click("text=Read the parked mails of the last 7 days")
        mails = self.page.locator("#parked-mails tbody tr")
        mails.nth(1).wait_for()
        # Only an order's own mail can be sent again.
        for mail, count in ((own, 1), (requested, 0)):
            self.assertEqual(mails.filter(has_text=mail).get_by_role("button", name="Send again").count(), count)
        mails.filter(has_text=requested).get_by_role("button", name="Seen").click()
        self.page.wait_for_selector('#said:has-text("is marked as seen")')
        self.page.wait_for_selector('#parked-mails:has-text("1.")')
        self.assertEqual(mails.count(), 1)

    def test_a_poll_that_fails_is_told_until_the_next_that_succeeds(self) -> None:
        self.page.goto(f"{self.url}#/")
        self.page.wait_for_selector('#where:has-text("read at")')
        self.page.route("**/console/state", lambda route: route.fulfill(status=502, json={"detail": "AWS could not be reached."}))
        self.page.wait_for_selector('#said:has-text("AWS could not be reached.")')
        self.page.unroute("**/console/state")
        self.page.wait_for_selector("#said:empty", state="attached")
        # Chromium reports the failed requests, too.
        self.errors.clear()

    def test_a_time_has_its_date_unless_that_is_today(self) -> None:
        self.page.goto(f"{self.url}#/")
        shown = "([at]) => import('/console/page/dom.js').then((dom) => dom.clock(at))"
        self.assertRegex(self.page.evaluate(shown, [time.time_ns() // 1_000_000]), r"^\d\d:\d\d:\d\d$")
        self.assertIn("2020", self.page.evaluate(shown, ["2020-01-02T12:00:00Z"]))

    def test_the_reference_places_an_order(self) -> None:
        self.page.goto(self.url)
        self.page.click('nav a:text-is("API")')
        self.page.get_by_role("button", name=re.compile("Test Request.*cart")).click()
        with self.page.expect_response(f"{self.url}api/order/cart.json") as answered:
            self.page.click('[data-addressbar-action="send"]')
        self.assertEqual(answered.value.status, 201)
        self.page.wait_for_selector("text=201 Created")
        order = answered.value.json()["orderId"]
        with urllib.request.urlopen(f"{self.url}api/order/{order}", timeout=30) as shown:
            self.assertEqual(json.load(shown)["status"], "pending")

    def test_the_page_fits_a_phone_and_the_dark_and_works_by_keyboard(self) -> None:
        self.page = self.new_page(360, 780, "dark")
        self.place()
        self.shipped(SOON)
        for address in ("#/", "#/orders", "#/mails", "#/faults"):
            self.page.goto(f"{self.url}{address}")
            self.page.wait_for_selector("main h2")
            wide = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            self.assertFalse(wide, address)
        self.page.goto(f"{self.url}#/")
        self.page.focus("#place")
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#watch a")
        self.picture("phone")

    def test_another_page_cannot_use_the_console(self) -> None:
        for path, headers, method in (
            ("console/heal", {}, "POST"),
            ("console/state", {"Host": "attacker.example"}, "GET"),
            ("console/mail/1", {"Host": "attacker.example"}, "GET"),
            ("docs", {"Host": "attacker.example"}, "GET"),
        ):
            request = urllib.request.Request(f"{self.url}{path}", b"{}" if method == "POST" else None, headers, method=method)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            self.assertEqual(refused.exception.code, 403)
            refused.exception.close()


def _output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout
    return process.stdout


if __name__ == "__main__":
    unittest.main()
