"""Who may talk to the server at all: checked before anything else looks at a request."""

import hmac
import ipaddress
import re
import socket
from contextlib import suppress

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

COOKIE = "diffworld-token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware in front of an app.

    Host: a page of some other site may point its own name at this machine (DNS rebinding) and would then count as
    the same site; so the Host header must be a name of this machine. Origin: a websocket must come from a page of
    this very server. Token: where one is set, it comes once in the address (`/?token=...`) and then in a cookie.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app, self._token = app, token
        self._only_loopback = host in LOOPBACK
        self._names = LOOPBACK
        if not self._only_loopback:  # the name that it was told, and those by which other machines may know this one
            name = socket.gethostname().lower()
            self._names |= {host.lower().strip("[]"), name, f"{name.split('.')[0]}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the headers that protect the page added to the answer, or refuse it."""
        app = self._app if scope["type"] == "lifespan" else self._let_in(HTTPConnection(scope))
        await app(scope, receive, _with_headers(send))

    def _let_in(self, request: HTTPConnection) -> ASGIApp:
        """What answers a request: the app, or a refusal, or what moves the token from the address bar to a cookie."""
        is_page = request.scope["type"] == "http"
        if refusal := self._refusal(request, is_page):
            return PlainTextResponse(refusal, 403) if is_page else WebSocketClose()  # before it is accepted: HTTP 403
        if is_page and self._token and "token" in request.query_params:
            moved = RedirectResponse("/", 303)
            moved.set_cookie(COOKIE, self._token, httponly=True, samesite="lax")
            return moved
        return self._app

    def _refusal(self, request: HTTPConnection, is_page: bool) -> str | None:
        host = request.headers.get("host", "")
        if not self._is_own(host):
            return "this address is not one of the server's: use the one that it printed"
        own_pages = (f"http://{host}".lower(), f"https://{host}".lower())
        if not is_page and request.headers.get("origin", "").lower() not in own_pages:
            return "a websocket must come from the server's own page"
        given = request.query_params.get("token") or request.cookies.get(COOKIE, "")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            return "the token is missing or wrong: use the whole address that the server printed"
        return None

    def _is_own(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        name = match["name"].lower().strip("[]") if match else ""
        if self._only_loopback or name in self._names:
            return name in self._names
        with suppress(ValueError):  # rebinding needs a name that an attacker controls; a bare address is nobody's name
            return bool(ipaddress.ip_address(name))
        return False


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return wrapped
