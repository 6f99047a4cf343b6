"""Connections end when the client lets the server wait too long; Uvicorn itself would wait for ever."""

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PATIENCE_SECONDS = 15.0
"""How long a client has to say what it wants, to read what it is sent, or to answer a ping."""


class _Limit:
    """Ends a connection unless it is stopped in time."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport, self._seconds = transport, seconds
        self._timer: asyncio.TimerHandle | None = None

    def run(self, running: bool = True) -> None:
        """Run from now on, or go on where it runs; or stop."""
        if self._timer is not None and not running:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and running:
            # A connection is not closed before all is sent, and so never, where nobody reads; hence `abort`.
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)


class _Patient(asyncio.Protocol):
    """A protocol whose client must read what it is sent."""

    patience = PATIENCE_SECONDS
    _reading: _Limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hear of everything that could not be sent at once."""
        socket = cast(asyncio.Transport, transport)
        socket.set_write_buffer_limits(0)
        self._reading = _Limit(socket, self.patience)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing can be late any more."""
        self._reading.run(False)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client has to read first."""
        self._reading.run()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has read everything."""
        self._reading.run(False)
        super().resume_writing()


class PatientWebSocket(_Patient, WebSocketsSansIOProtocol):
    """A websocket; whether its client is still there is found out by pings."""


class PatientHTTP(_Patient, H11Protocol):
    """HTTP/1.1; a request's head must be whole in time, however it comes in, and so must the next one's."""

    _asking: _Limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come, and has to ask for something."""
        super().connection_made(transport)
        self._asking = _Limit(self.transport, self.patience)
        self._asking.run()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._asking.run(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request; if it is not whole, they win no time."""
        super().data_received(data)
        self._asking.run(self._waits())

    def on_response_complete(self) -> None:
        """It may ask again, and has all its time for that."""
        self._asking.run(False)
        super().on_response_complete()
        self._asking.run(self._waits())

    def _waits(self) -> bool:
        """Whether nothing is asked for at present, and this is not a websocket by now."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.transport.get_protocol() is self
