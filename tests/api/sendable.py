"""A hook of Schemathesis: leaves out the calls that `cargo lambda watch` cannot hand on to a function."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:  # noqa: ARG001 (named by Schemathesis)
    """Whether every header is ASCII and the body is UTF-8: for others, watch answers 500 itself."""
    return all(str(value).isascii() for value in (case.headers or {}).values()) and is_text(case.body)


def is_text(body: object) -> bool:
    """Whether a body is not raw bytes, or bytes in UTF-8."""
    if not isinstance(body, bytes):
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
