"""Lets browsers ask no other address than the page's own, whatever a part of gradio would like to load."""

from typing import Any

POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
"""gradio's pages hold scripts and styles of their own, and make files for workers and videos in the browser."""


class OwnAddressAlone:
    """Puts the policy (Content-Security-Policy, which browsers keep) into every answer of an ASGI application."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"content-security-policy", POLICY)]}
            await send(message)

        await self._app(scope, receive, with_policy)
