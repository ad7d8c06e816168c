"""The HTTP endpoint: /metrics and /healthz."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from binder_observe.errors import ObserveError
from binder_observe.exporter.worker import Health

MOST_REQUESTS: Final = 16  # at a time; whoever comes beyond is sent away
_TEXT: Final = "text/plain; charset=utf-8"


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9000`, `[::1]:9000`, `localhost:9000`; port 0 is any that is free. Raises ValueError."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):(\d{1,5})", text)
    if not found or int(found[3]) > 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT; write it like 127.0.0.1:9000 or [::1]:9000")
    return found[1] or found[2], int(found[3])


class Server(ThreadingHTTPServer):
    """Listens from the moment that it is made; answers between `start()` and `stop()`.

    Raises ObserveError when it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 2 * MOST_REQUESTS

    def __init__(self, host: str, port: int) -> None:
        self._registry: CollectorRegistry | None = None
        self._health: Callable[[], Health] | None = None
        self._room = threading.BoundedSemaphore(MOST_REQUESTS)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True)
        where = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__((str(address[0]), port), Handler)
        except socket.gaierror as error:
            raise ObserveError(
                f"there is no address for {host!r}: {error.strerror}; name one of this machine"
            ) from error
        except OSError as error:
            why = {
                errno.EADDRINUSE: "another program listens there already; name another port",
                errno.EADDRNOTAVAIL: "that is no address of this machine; name one that is, or 127.0.0.1",
                errno.EACCES: "this port is for root only; name one above 1023",
            }.get(error.errno or 0, error.strerror or str(error))
            raise ObserveError(f"cannot listen on {where}: {why}") from error

    def server_bind(self) -> None:
        """Without the look-up of our own name, which HTTPServer does and which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        host = self.server_name
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.server_name.split("%")[0]).is_loopback

    def start(self, registry: CollectorRegistry, health: Callable[[], Health]) -> None:
        self._registry, self._health = registry, health
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        assert self._registry is not None
        assert self._health is not None
        if path == "/metrics":
            encode, kind = choose_encoder(accept)
            return 200, kind, encode(self._registry)
        if path == "/healthz":
            health = self._health()
            return 200 if health.ok else 503, _TEXT, f"{health.state}: {health.reason}\n".encode()
        if path == "/":
            return 200, _TEXT, b"binder-observe: /metrics for Prometheus, /healthz says whether events are being read\n"
        return 404, _TEXT, b"there are /metrics and /healthz\n"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hangs up is no matter
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request a connection."""

    server: Server
    timeout = 10  # seconds for a client that says nothing
    server_version = "binder-observe"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = self.server.answer(self.path.split("?")[0], self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # scrapes are not worth a line each
        pass
