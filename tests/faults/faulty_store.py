"""A way to the store that can be bad: a proxy on loopback that answers errors, breaks off, or takes its time.

In: the address of a real store, and a rule. Out: an address of its own. What the rule lets pass reaches the store byte
for byte, so that signatures hold: the store is told the host that the client has signed.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[["Request"], None]


@dataclass
class Request:
    """What a client asks of the store, on its way there."""

    method: str
    path: str
    _handler: BaseHTTPRequestHandler

    def refuse(self, status: int) -> None:
        """Answer this status in the store's place; the body is thrown away."""
        raise _Answered(status)

    def break_off(self) -> None:
        """Read half of the body and close the connection, as a cable that is pulled."""
        length = int(self._handler.headers.get("Content-Length", 0))
        self._handler.rfile.read(length // 2)
        self._handler.connection.shutdown(socket.SHUT_RDWR)
        raise _Answered(0)


@dataclass
class FaultyStore:
    """The proxy's address, and the rule that it follows now: a function of each request, which may do nothing."""

    address: str
    fault: Fault = lambda request: None
    requests: list[str] = field(default_factory=list)
    """`METHOD /path` of every request that came."""


class _Answered(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


@contextmanager
def faulty_store(endpoint: str) -> Iterator[FaultyStore]:
    """Run a proxy before the store at `endpoint` for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    store = FaultyStore(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(store, urlsplit(endpoint).netloc)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(store: FaultyStore, target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            store.requests.append(f"{self.command} {self.path}")
            try:
                store.fault(Request(self.command, self.path, self))
                body = self._body()
            except _Answered as answered:
                self.close_connection = True
                if answered.status:
                    self.send_response(answered.status)
                    self.send_header("Content-Length", "0")
                    self.send_header("Connection", "close")
                    self.end_headers()
                return
            self._answer(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(target, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
