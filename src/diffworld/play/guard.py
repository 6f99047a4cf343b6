"""Who may talk to the server at all: checked before anything else looks at a request."""

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "diffworld-token"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_TOKEN = re.compile(r"token=([A-Za-z0-9_-]{1,128})")

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

    def __init__(self, app: App, host: str, token: str | None) -> None:
        self._app, self._token = app, token
        self._only_loopback = host in LOOPBACK
        self._names = LOOPBACK if self._only_loopback else LOOPBACK | own_names(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the headers that protect the page added to the answer, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before acceptance: HTTP 403
        elif refusal:
            await _answer(send, 403, refusal)
        elif scope["type"] == "http" and self._token and b"token=" in scope["query_string"]:
            await self._set_cookie(send)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return "this address is not one of the server's: use the one that it printed"
        if scope["type"] == "websocket":
            origin = urlsplit(headers.get("origin", ""))
            if origin.scheme not in ("http", "https") or origin.netloc.lower() != host.lower():
                return "a websocket must come from the server's own page"
        if self._token and not hmac.compare_digest(self._given(scope, headers).encode(), self._token.encode()):
            return "the token is missing or wrong: use the whole address that the server printed"
        return None

    def _is_own(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().strip("[]")
        return name in self._names or (not self._only_loopback and _is_address(name))

    def _given(self, scope: Scope, headers: dict[str, str]) -> str:
        match = _TOKEN.fullmatch(scope["query_string"].decode("latin-1"))
        if match:
            return match[1]
        try:
            cookie = SimpleCookie(headers.get("cookie", "")[:4096]).get(COOKIE)
        except CookieError:
            return ""
        return cookie.value if cookie else ""

    async def _set_cookie(self, send: Send) -> None:
        """Keep the token as a cookie and take it out of the address bar."""
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Lax"
        await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})


def own_names(host: str) -> frozenset[str]:
    """Names by which other machines may know this one: the one it was told, and its own."""
    name = socket.gethostname().lower()
    return frozenset({host.lower().strip("[]"), name, f"{name.split('.')[0]}.local"})


def _is_address(name: str) -> bool:
    """Rebinding needs a name that an attacker controls; a bare address is nobody's name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_encoded(HEADERS)]}
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    head = {"content-type": "text/plain; charset=utf-8", **HEADERS, **(headers or {})}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(head)})
    await send({"type": "http.response.body", "body": text.encode()})


def _encoded(headers: dict[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
