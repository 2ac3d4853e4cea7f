"""Who may talk to the server, and what a page of it may load."""

from __future__ import annotations

import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Gradio's page has inline scripts and styles and compiles its templates, hence the two 'unsafe' words.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
# Doors of Gradio's that write files of the caller's into the temporary folder. No view uses them: they stay closed.
CLOSED = ("/gradio_api/upload", "/gradio_api/deep_link")
# The 3-D view is a page of pycortex's with its scripts within it. It runs in a sandbox, as a page of no origin at all:
# it may read its own files and nothing else, neither the app's page around it nor what the app's session may do.
FRAMED = "/neurovis/brain3d/view/"
FRAMED_HEADERS = HEADERS | {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'unsafe-inline'",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "font-src data:",
            "connect-src 'self'",
            "worker-src blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "sandbox allow-scripts allow-downloads",
        )
    ),
    "x-frame-options": "SAMEORIGIN",
    # A browser refuses a sandboxed page in a tab of its own under any stricter policy.
    "cross-origin-opener-policy": "unsafe-none",
    # A page of no origin asks as origin "null". The names of its files cannot be guessed: they hash what is in them.
    "access-control-allow-origin": "null",
    "access-control-allow-headers": "x-requested-with",
}


def allowed_hosts(host: str) -> list[str]:
    """Return the Host names to answer to; any other is a rebinding attack or a mistake."""
    names = {"127.0.0.1", "localhost", host}
    if host in ("0.0.0.0", "::"):
        names |= {socket.gethostname(), socket.getfqdn()}
        names |= {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    return sorted(names)


class Guard:
    """ASGI middleware: refuse cross-site writes and what no view uses; add security headers to every answer.

    A browser sends ``Origin`` (and ``Sec-Fetch-Site``) with a request that another site's page made; a command line
    sends neither and is let through.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if unsafe and _is_foreign(headers):
            response = PlainTextResponse("requests from another site are refused", 403, HEADERS)
            await response(scope, receive, send)
            return

        if scope.get("path", "").rstrip("/") in CLOSED:
            response = PlainTextResponse(
                "nothing is uploaded or kept here; name a folder in the Data tab", 403, HEADERS
            )
            await response(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                framed = scope.get("path", "").startswith(FRAMED)
                for name, value in (FRAMED_HEADERS if framed else HEADERS).items():
                    found[name] = value
            await send(message)

        await self.app(scope, receive, with_headers)


def _is_foreign(headers: Headers) -> bool:
    """Tell whether the request was made by a page of another origin."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    return headers.get("sec-fetch-site") in ("cross-site", "same-site")
