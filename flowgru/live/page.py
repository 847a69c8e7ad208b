"""A page for a browser that shows the newest picture: a sequence of JPEG pictures in one answer, which browsers play."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flowgru.data.formats.images import jpeg_bytes
from flowgru.processes.ports import address_text, free_port, is_asked_by_own_name, is_of_this_machine
from flowgru.view.colour_wheel import Picture

MOST_WATCHERS = 8
SECONDS_TO_WAIT = 1.0
"""For a new picture, before it is looked whether the page is to end."""

_BOUNDARY = b"--picture"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>flowgru live</title>
<style>
body { margin: 0; padding: 1rem; font-family: system-ui, sans-serif; background: #fafafa; color: #222 }
h1 { font-size: 1.1rem; margin: 0 0 .75rem }
img { width: min(100%, 80rem); height: auto; border: 1px solid #ccc; background: #fff }
</style></head>
<body><h1>flowgru live: each frame beside its flow</h1>
<img src="stream" alt="the newest frame and its flow in colour">
<p>The hue says where a pixel goes and the saturation how far, as in the wheel in the corner; white stands still.</p>
</body></html>
"""


class LivePage:
    """Serves the newest picture at `address` until the `with` ends; its page is looked at by MOST_WATCHERS at once."""

    def __init__(self, host: str, port: int) -> None:
        """MachineError where nothing can listen there."""
        port = free_port(host, port)
        self.address = address_text(host, port)
        self._host, self._is_shared = host, not is_of_this_machine(host)
        self.watchers = threading.Semaphore(MOST_WATCHERS)
        self.ended = False
        self._news = threading.Condition()
        self._jpeg, self._number = b"", 0
        self._server = _Server((host, port), _Handler)
        self._server.page = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="flowgru-page")

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ended = True
        self._server.shutdown()
        self._server.server_close()

    def is_addressed(self, host: str) -> bool:
        """Whether a request means this page: a page from elsewhere whose name leads to this machine does not."""
        return self._is_shared or is_asked_by_own_name(host, self._host)

    def show(self, picture: Picture) -> bool:
        """Gives all who look the picture, in place of one that they have not had."""
        jpeg = jpeg_bytes(picture)
        with self._news:
            self._jpeg, self._number = jpeg, self._number + 1
            self._news.notify_all()
        return True

    def newer_than(self, number: int) -> tuple[bytes, int]:
        """The newest picture and its number, once it is another one; the same number where none came in a while."""
        with self._news:
            self._news.wait_for(lambda: self._number > number, SECONDS_TO_WAIT)
            return self._jpeg, self._number


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    page: LivePage

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # who looks has gone


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30  # seconds for which somebody who takes nothing is waited for

    def do_GET(self) -> None:
        if not self.server.page.is_addressed(self.headers.get("Host", "")):
            self._answer(403, "text/plain", f"open {self.server.page.address}\n".encode())
        elif self.path == "/":
            self._answer(200, "text/html; charset=utf-8", _PAGE.encode())
        elif self.path == "/stream":
            self._stream()
        else:
            self._answer(404, "text/plain", b"there is nothing here: the page is at /\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        page = self.server.page
        if not page.watchers.acquire(blocking=False):
            text = f"{MOST_WATCHERS} look at it already, and that is all that are let in: close one of them\n"
            self._answer(503, "text/plain", text.encode())
            return
        try:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(_BOUNDARY)  # a browser shows a picture when it has seen the boundary behind it
            number = 0
            while not page.ended:
                jpeg, newest = page.newer_than(number)
                if newest > number:
                    head = f"\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n" + _BOUNDARY)
                    number = newest
        finally:
            page.watchers.release()

    def log_message(self, format: str, *args: Any) -> None:
        pass  # stderr has the line of the work
