"""The order that the README places."""

from __future__ import annotations

from typing import Any


def cart(currency: str) -> dict[str, Any]:
    """The seed's cart. With `checkout` the order needs no further call."""
    return {
        "customerId": "8080",
        "items": [
            {"productId": "1234", "quantity": 2, "price": 50},
            {"productId": "2345", "quantity": 1, "price": 100},
        ],
        "checkout": {
            "name": "Lital Hay",
            "phone": "0545870006",
            "email": "lital@example.com",
            "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY",
            "currency": currency,
        },
    }
