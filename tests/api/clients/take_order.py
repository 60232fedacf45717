"""Takes an order from its cart to shipped, and refunds a part of it, through the generated Python client."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

# Generated from api/openapi.yaml.
from orderflow import (
    ApiError,
    CartRequest,
    Client,
    InvoiceRequest,
    Item,
    PaymentRequest,
    RefundRequest,
    Shipment,
    ShippingRequest,
)

T = TypeVar("T")

CUSTOMER = "8080"
ITEMS = [Item(product_id="1234", quantity=2, price=50), Item(product_id="2345", quantity=1, price=100)]
RECIPIENT = {"name": "Lital Hay", "phone": "0545870006", "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"}


def when_free(step: Callable[[], T]) -> T:
    """Repeats a step that the chain carries out at the same time: it is in progress then, for seconds."""
    for _ in range(30):
        try:
            return step()
        except ApiError as error:
            if error.body["code"] != "in_progress":
                raise
            time.sleep(0.5)
    return step()


def main(url: str, run: str) -> None:
    client = Client(url)
    cart = client.place_cart(CartRequest(customer_id=CUSTOMER, items=ITEMS), idempotency_key=f"cart-{run}")
    invoice = client.issue_invoice(
        InvoiceRequest(
            customer_id=CUSTOMER,
            order_id=cart.order_id,
            tax=cart.tax,
            sub_total_amount=cart.sub_total_amount,
            total_amount=cart.total_amount,
            currency="USD",
            items=ITEMS,
            **RECIPIENT,
        )
    )
    charge = PaymentRequest(customer_id=CUSTOMER, invoice_id=invoice.invoice_id, total_amount=invoice.total_amount)
    payment = when_free(lambda: client.pay_invoice(charge))
    shipment = when_free(lambda: client.ship_order(ShippingRequest(order_id=cart.order_id, **RECIPIENT)))
    order = client.read_order(cart.order_id)
    assert order.status == "shipped", order
    assert order.payment and order.payment.transaction_id == payment.transaction_id, order
    assert isinstance(shipment, Shipment) and order.tracking_number == shipment.tracking_number, order
    part = RefundRequest(customer_id=CUSTOMER, order_id=cart.order_id, amount=25.5)
    refund = client.refund_order(part, idempotency_key=f"refund-{run}")
    assert refund.refunded_amount == 25.5, refund
    try:
        client.read_order("ord_00000000000000000000000000")
    except ApiError as error:
        assert error.status == 404, error.status
    else:
        raise AssertionError("an unknown order was found")
    print(f"shipped {cart.order_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
