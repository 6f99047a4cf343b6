"""The web page's server: a few fixed pages, films by key, and a websocket for each player.

Everything under `static/` is read once at the start; a request can only name one of those texts or a film's key,
so no path of a client ever reaches the file system.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
import webbrowser
from dataclasses import dataclass
from importlib import resources

import uvicorn
from fastapi import FastAPI, Response, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse

from diffworld.play.connection import INTERNAL_ERROR, Connection
from diffworld.play.guard import LOOPBACK, Guard
from diffworld.play.patience import PATIENCE_SECONDS, PatientHTTP, PatientWebSocket
from diffworld.play.protocol import MAX_MESSAGE_BYTES
from diffworld.play.server_state import Offer
from diffworld.runtime.errors import UserError, one_line

MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class Address:
    """Where the server listens. `token` is None on the machine's own loopback address only."""

    host: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """What to open in a browser; for "every address", the one by which a phone nearby finds this machine."""
        host = _outward_address() if self.host in ("0.0.0.0", "::") else self.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")


def listen(host: str, port: int) -> tuple[socket.socket, Address]:
    """Take a port (0: any free one) and draw a token if other machines can reach it.

    Raises: UserError, one line, where the port is busy or the host no address of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port} is no port: choose one of 1 to 65535, or 0 for any free one")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        listener = socket.create_server(where, family=family, backlog=64, dualstack_ipv6=both)
    except OSError as error:
        reason = (error.strerror or "").partition(" (")[0]
        raise UserError(
            f"cannot listen on {host} port {port} ({reason}): choose another --port, or 0 for any free one; "
            "--host must be an address of this machine"
        ) from None
    token = None if host in LOOPBACK else secrets.token_urlsafe(24)
    return listener, Address(host, listener.getsockname()[1], token)


def create_app(offer: Offer, address: Address) -> FastAPI:
    """The application, with `Guard` in front of it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = _static_pages()

    @app.get("/")
    @app.get("/static/{name}")
    def page(name: str = "index.html") -> Response:
        return pages.get(name) or PlainTextResponse("there is no such page", 404)

    @app.get("/films/{key}")
    def film(key: str) -> Response:
        if path := offer.film(key):
            return FileResponse(path, filename=path.name)
        return PlainTextResponse("this film is no longer kept: export it again", 404)

    @app.websocket("/play")
    async def play(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            name, state = await asyncio.to_thread(offer.of, websocket.query_params.get("model", ""))
        except UserError as error:
            await websocket.close(INTERNAL_ERROR, one_line(error, 100))
        else:
            await Connection(websocket, state, {"model": name, "models": offer.names}).run()

    app.add_middleware(Guard, host=address.host, token=address.token)
    return app


def serve(offer: Offer, listener: socket.socket, address: Address, open_browser: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM, and end every session before returning."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what a client breaks off is no news
    server = make_server(offer, address)
    if open_browser:
        threading.Thread(target=_open_browser, args=(address.url,), daemon=True).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    finally:
        offer.close()


def make_server(offer: Offer, address: Address) -> uvicorn.Server:
    """Uvicorn, with messages bounded in size, and of clients that go without a word or let it wait."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(offer, address),
            log_level="critical",
            access_log=False,
            server_header=False,
            http=PatientHTTP,
            ws=PatientWebSocket,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=PATIENCE_SECONDS,
            ws_ping_timeout=PATIENCE_SECONDS,
            ws_per_message_deflate=False,  # frames are compressed already
            timeout_graceful_shutdown=3,
        )
    )


def _static_pages() -> dict[str, Response]:
    files = (resources.files("diffworld.play") / "static").iterdir()
    kinds = {file: MEDIA_TYPES.get(file.name.rpartition(".")[2]) for file in files}
    return {file.name: Response(file.read_bytes(), media_type=kind) for file, kind in kinds.items() if kind}


def _open_browser(url: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)


def _outward_address() -> str:
    """This machine's address in its network; asks the routing table, sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address kept for documentation, RFC 5737
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
