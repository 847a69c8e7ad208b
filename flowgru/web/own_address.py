"""Keeps the page to its own address: whom it answers, what it fetches, and what it lets browsers ask."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from flowgru.errors import RequestError
from flowgru.processes.ports import THIS_MACHINE, is_asked_by_own_name

POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'"
"""gradio's pages hold scripts and styles of their own, and make files for workers and videos in the browser."""

_RELAYED = re.compile(r"/(file[=/]+https?:|proxy=)", re.IGNORECASE)
"""Paths at which gradio would fetch another address for whoever asks."""


class Limits(NamedTuple):
    """What is answered of an application's requests."""

    host: str | None
    """Only who asks by this name, or by one that a machine has for itself, see is_asked_by_own_name; None: who asks."""
    max_bytes: int
    """Of the body of a request."""


class OwnAddressAlone:
    """Around an ASGI application: refuses requests that are not the page's own, and puts the policy into every answer.

    The policy (Content-Security-Policy, which browsers keep) lets the page load nothing from another address, whatever a
    part of gradio would like to, and no other page show it in a frame.
    """

    def __init__(self, app: Any, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (refused := refusal(scope, self._limits)):
            status, text = refused
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-security-policy", POLICY)]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": f"{text}\n".encode()})
            return

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"content-security-policy", POLICY)]}
            await send(message)

        await self._app(scope, receive, with_policy)


def refusal(scope: Any, limits: Limits) -> tuple[int, str] | None:
    """The status and the line with which a request is refused; None for one of the page itself."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    if limits.host is not None and not is_asked_by_own_name(headers.get(b"host", ""), limits.host):
        return 403, f"this page answers to {THIS_MACHINE} and localhost alone: start it with --host to share it"
    changes_something = scope["method"] not in ("GET", "HEAD")
    if (changes_something or b"origin" in headers) and _is_from_elsewhere(headers):
        return 403, "this was sent by a page from elsewhere"
    # What comes in chunks is of any length, whatever its header says.
    length = "" if b"transfer-encoding" in headers else headers.get(b"content-length", "")
    if changes_something and not (re.fullmatch(r"\d{1,18}", length) and int(length) <= limits.max_bytes):
        return 413, f"the request has {length[:18] or 'no known number of'} bytes: at most {limits.max_bytes} are taken"
    if _RELAYED.search(scope["path"]):
        return 403, "this page fetches nothing from other addresses"
    return None


def _is_from_elsewhere(headers: Mapping[bytes, str]) -> bool:
    """Whether another page has sent a request. Browsers say so, and no script can say otherwise.

    To a page that is neither encrypted nor of this machine they only say where it comes from.
    """
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition("://")[2] != headers.get(b"host")


def fetch_nothing() -> None:
    """Lets gradio refuse an address that comes in place of a file: it would fetch it, of any size."""
    from gradio import processing_utils, routes

    async def refuse(url: str, *_: object, **_more: object) -> NoReturn:
        raise RequestError(f"{url[:100]} is an address: give the file itself")

    processing_utils.async_ssrf_protected_download = refuse
    routes.secure_url_stream_response = refuse
