"""A real server with a tiny run in a thread, and a plain client that speaks the page's protocol."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from diffworld.play.library import Library
from diffworld.play.protocol import unpack
from diffworld.play.queue import PlayerQueue
from diffworld.play.server import Address, listen, make_server
from diffworld.play.server_state import Offer, ServerState
from diffworld.runs import Model, load

Message = dict[str, Any]
LIMIT = 300.0
"""Seconds after which whatever hangs is ended; no test takes a tenth of it."""
get = partial(httpx.get, timeout=LIMIT)


@dataclasses.dataclass
class Served:
    """A running server."""

    state: ServerState
    address: Address

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.address.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"


@contextmanager
def serving(
    run: Path | Model, max_players: int = 8, token: str | None = None, port: int = 0, others: Sequence[Model] = ()
) -> Iterator[Served]:
    """Serve the run, on a free port unless one is given, and offer the others; at the end all must have stopped.

    A model that is no run records to the folder `recordings` of the working folder.
    """
    listener, address = listen("127.0.0.1", port)
    address = dataclasses.replace(address, token=token)
    model, folder = (run, Path()) if isinstance(run, Model) else (load(run, "cpu"), run)
    library = Library({"recordings": folder / "recordings", **model.datasets})
    queue = PlayerQueue(max_players)
    state = ServerState(model, library, folder / "recordings", queue)
    more = {each.title: partial(ServerState, each, library, None, queue) for each in others}
    offer = Offer({model.title: lambda: state, **more})
    server = make_server(offer, address)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Served(state, address)
    finally:
        server.should_exit = True
        thread.join(LIMIT)
        offer.close()
        assert not thread.is_alive(), "the server did not stop"


def wait_for(done: Callable[[], Any], seconds: float = LIMIT) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def open_socket(host: str, origin: str | None, **options: Any) -> ClientConnection:
    """A websocket to the server there, as a page of that origin."""
    patient = {"open_timeout": LIMIT, "ping_interval": None, "close_timeout": 1}
    plain = {"compression": None, "max_size": None}
    return connect(f"ws://{host}/play", origin=origin and Origin(origin), **patient, **plain, **options)


class Client:
    """One player."""

    def __init__(self, served: Served, shows: bool = True) -> None:
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(open_socket(served.host, served.origin))
        self._shows = shows
        self._id = 0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        self._stack.close()

    def say(self, type: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": type, **fields}))

    def next(self, timeout: float = LIMIT) -> tuple[Message, dict[str, bytes]]:
        data = self.socket.recv(timeout)
        header, images = unpack(data) if isinstance(data, bytes) else (json.loads(data), {})
        if header["type"] == "view" and self._shows:
            self.say("shown", number=header["number"])
        return header, images

    def until(self, type: str, test: Callable[[Message], bool] = lambda _: True) -> tuple[Message, dict[str, bytes]]:
        """The next message of this type that passes the test."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            header, images = self.next()
            if header["type"] == type and test(header):
                return header, images
        raise AssertionError(f"no such {type}")

    def ask(self, type: str, **fields: Any) -> tuple[Message, dict[str, bytes]]:
        self._id += 1
        number = self._id
        self.say(type, id=number, **fields)
        return self.until("reply", lambda reply: reply["id"] == number)

    def pause(self) -> None:
        self.say("pause", on=True)
        self.until("state", lambda state: state["paused"])
