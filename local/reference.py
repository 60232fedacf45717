"""The API's reference page at /docs: Scalar, from disk, over api/openapi.yaml."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from front import Request, Response
from stack import ROOT

PAGE = Path(__file__).resolve().parent / "reference"
DESCRIPTION = ROOT / "api" / "openapi.yaml"
# The page's own address, so that "Test Request" calls this machine on whatever port it listens.
SERVERS = "servers:\n  - url: /\n    description: This machine. No token is needed, and every caller counts as the back end.\n"


def answer(request: Request) -> Response | None:
    """The answer to a request for the page or for something that it loads; None for another path."""
    match request.method, request.segments:
        case "GET", ["docs"]:
            return Response(200, "text/html; charset=utf-8", (PAGE / "index.html").read_bytes())
        case "GET", ["docs", "start.js"]:
            return Response(200, "text/javascript; charset=utf-8", (PAGE / "start.js").read_bytes())
        case "GET", ["docs", "scalar.js"]:
            return Response(200, "text/javascript; charset=utf-8", scalar().read_bytes())
        case "GET", ["openapi.yaml"]:
            return Response(200, "application/yaml", here(DESCRIPTION.read_text()).encode())
        case _:
            return None


def scalar() -> Path:
    """Scalar's standalone script. The package is installed for this file alone; its code is never imported."""
    package = importlib.util.find_spec("flask_openapi_scalar")
    if not package or not package.origin:
        raise FileNotFoundError("flask-openapi-scalar is not installed: run `make tools`.")
    return Path(package.origin).parent / "templates" / "scalar" / "js" / "scalar.standalone.js"


def here(description: str) -> str:
    """The description with this machine as its only server."""
    found, count = re.subn(r"^servers:\n(?: .*\n)+", SERVERS, description, flags=re.MULTILINE)
    if count != 1:
        raise ValueError("api/openapi.yaml has no list of servers at its top level")
    return found
