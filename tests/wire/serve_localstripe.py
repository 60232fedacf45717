"""Serves localstripe on a free port of loopback until it is ended; its first line of output is the address.

Its own start command listens on every interface and keeps its books in a file under /tmp, which the next one reads.
"""

from __future__ import annotations

import socket

from aiohttp import web
from localstripe.resources import store
from localstripe.server import app


def main() -> None:
    store.dump_to_disk = lambda: None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        # Nobody waits for the webhooks that it would still send.
        web.run_app(app, sock=listener, print=None, shutdown_timeout=1)


if __name__ == "__main__":
    main()
