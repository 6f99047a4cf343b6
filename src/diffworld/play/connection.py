"""One player's websocket: reads messages, owns the session, sends frames.

Three tasks run side by side. `_read` checks each message and never waits for the game. `_play` alone touches the
session: it does commands in order, and between them steps at the player's pace. `_show` sends the newest view
whenever fewer than `IN_FLIGHT` frames are on their way; a slow client so sees fewer frames, but never old ones.
"""

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import WebSocket, WebSocketDisconnect

from diffworld.play import protocol
from diffworld.play.pace import Allowance, Meter, Pace
from diffworld.play.players import HeldKeys
from diffworld.play.protocol import ProtocolError
from diffworld.play.queue import QueueFull
from diffworld.play.server_state import ServerState
from diffworld.play.session import PlaySession
from diffworld.play.settings import default_fps
from diffworld.play.view import Pictures, View, describe
from diffworld.runtime.device import use_threads
from diffworld.runtime.errors import UserError, one_line
from diffworld.runtime.memory import memory_error, out_of_memory

T = TypeVar("T")
log = logging.getLogger(__name__)

IN_FLIGHT = 4
"""Frames sent and not yet shown by the page: enough for 15 frames a second over 250 ms there and back."""
MESSAGES_PER_SECOND = 300
"""The page stays below this at 60 frames a second, with a slider being dragged."""
MESSAGES_AT_ONCE = 600
COMMANDS_AT_ONCE = 256
QUERIES_AT_ONCE = 8
STALLED_AFTER = 5.0
"""Seconds without a frame shown after which the game waits for the client."""
HOLD_AFTER_END = 1.0
"""Seconds an ended game is left to look at."""

POLICY_VIOLATION, TRY_AGAIN_LATER, INTERNAL_ERROR = 1008, 1013, 1011  # RFC 6455 and its registry of close codes


class Connection:
    """A player from the handshake to the closed tab."""

    def __init__(self, socket: WebSocket, server: ServerState, offer: Mapping[str, Any]) -> None:
        """`offer` says which model this is and which others there are."""
        self._socket, self._server, self._offer = socket, server, offer
        self._allowance = Allowance(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE)
        self._commands: asyncio.Queue[protocol.Command] = asyncio.Queue(COMMANDS_AT_ONCE)
        self._thread = ThreadPoolExecutor(1, "player", initializer=lambda: use_threads(1))
        self._playing = self._paused = False
        self._keys = HeldKeys(server.model.spec.actions)
        self._pace, self._meter = Pace(default_fps(server.model.spec)), Meter()
        self._latest: View | None = None
        self._number = self._shown = self._queries = self._stands = 0
        self._shown_at = time.monotonic()
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Serve an accepted websocket until it closes; closes it itself where the client breaks the rules."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for work in (self._read(), self._live(), self._show()):
                    self._tasks.create_task(work)
        except ExceptionGroup as failures:
            await self._part(failures.exceptions[0])
        finally:
            self._thread.shutdown()  # nothing runs there any more, unless the server is being stopped

    async def _part(self, error: Exception) -> None:
        """Say why, where the client is still there to hear it."""
        match error:
            case WebSocketDisconnect():
                return
            case ProtocolError():
                code, reason = POLICY_VIOLATION, str(error)
            case QueueFull():
                code, reason = TRY_AGAIN_LATER, "too many players are waiting; try again later"
            case UserError():
                code, reason = INTERNAL_ERROR, one_line(error, 100)  # a reason may have 123 bytes
            case _ if no_memory := memory_error(error):
                log.error("a player's session failed: %s", out_of_memory(no_memory))
                code, reason = TRY_AGAIN_LATER, "the server is out of memory"
            case _:
                log.error("a player's session failed", exc_info=error)
                code, reason = INTERNAL_ERROR, "the session failed; the server's terminal says why"
        with suppress(RuntimeError, WebSocketDisconnect):  # closed already
            await self._socket.close(code, reason)

    # Reading

    async def _read(self) -> None:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(event.get("code", 1005))
            if not self._allowance.take():
                raise ProtocolError("too many messages")
            message = protocol.read_message(event.get("text") or "")
            if self._playing:  # before the welcome there is no game to do it with
                self._take(message)

    def _take(self, message: protocol.Inbound) -> None:
        if isinstance(message, protocol.Act):
            try:
                self._keys.hold(message.action)
            except UserError:
                raise ProtocolError("there is no such action") from None
        elif isinstance(message, protocol.Look):
            self._keys.look(message.right, message.down)
        elif isinstance(message, protocol.Shown):
            self._shown, self._shown_at = max(self._shown, min(message.number, self._number)), time.monotonic()
            self._due.set()
        elif isinstance(message, protocol.Query):
            if self._queries >= QUERIES_AT_ONCE:
                raise ProtocolError("too many questions at once")
            self._queries += 1
            self._tasks.create_task(self._answer(message))
        elif self._commands.full():
            raise ProtocolError("too many commands at once")
        else:
            self._commands.put_nowait(message)

    async def _answer(self, query: protocol.Query) -> None:
        loop = asyncio.get_running_loop()
        try:
            header, frames = await loop.run_in_executor(self._server.files, self._server.answer, query)
        except UserError as error:
            header, frames = {"error": str(error)}, None
        except Exception:
            log.exception("could not answer a question")
            header, frames = {"error": "this failed; the server's terminal says why"}, None
        await self._say({"type": "reply", "id": query.id, **header}, frames)
        self._queries -= 1  # not before: answers that nobody reads would pile up

    # Playing

    async def _live(self) -> None:
        """Wait for a place, play, and give the place back."""
        queue = self._server.queue
        waiting = {"type": "waiting", "players": queue.max_players}
        async with queue.place(lambda place: self._say({**waiting, "place": place})):
            session = await self._call(self._server.new_session)
            try:
                self._playing = True
                await self._play(session)
            finally:
                self._playing = False
                await self._call(session.close)

    async def _play(self, session: PlaySession) -> None:
        first = await self._call(session.reset)
        info = await self._call(session.info)
        await self._say({"type": "welcome", "info": {**info, **self._offer, "command": self._server.command}})
        await self._tell_state(session)
        self._keep(first)
        while True:
            command = await self._next_command()
            try:
                if view := await (self._step(session) if command is None else self._do(session, command)):
                    self._keep(view)
            except UserError as error:
                self._paused |= command is None  # it should not be said fifteen times a second
                await self._say({"type": "error", "text": str(error)})
            if command is not None:
                await self._tell_state(session)

    async def _next_command(self) -> protocol.Command | None:
        """The next command, or None when a step is due."""
        while True:
            # A client that shows nothing is not played to; look again now and then whether it does.
            wait = None if self._paused else 0.2 if self._stalled() else self._pace.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    return await self._commands.get()  # at once where there is any, even with no time to wait
            if not self._stalled():
                return None

    async def _step(self, session: PlaySession) -> View:
        view = await self._call(session.step, self._keys.take())
        self._meter.tick()
        self._pace.stepped(HOLD_AFTER_END if view.ended or view.truncated else 0.0)
        return view

    async def _do(self, session: PlaySession, command: protocol.Command) -> View | None:
        match command:
            case protocol.Pause():
                self._paused = command.on
                self._pace.restart()
            case protocol.Pace():
                self._pace.fps = command.fps
            case protocol.Step():
                return await self._step(session)
            case protocol.Reset():
                if command.start is not None:  # it can only be dreamt, so it takes the player into the dream
                    player = "human" if session.settings.player == "recording" else session.settings.player
                    await self._call(lambda: session.configure(world="dream", player=player))
                return await self._call(session.reset, command.start)
            case protocol.Rewind():
                return await self._call(session.rewind, command.steps)
            case protocol.Record():
                await self._call(session.record, command.on)
            case protocol.Watch():
                return await self._call(session.play_recording, command.dataset, command.episode)
            case protocol.Set():
                return await self._call(lambda: session.configure(**command.changes()))
        return None

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run one call on the session in the player's thread, after any that a cancelled task has left running."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # Showing

    def _keep(self, view: View) -> None:
        """The view to be sent next; one that was not sent by now never will be."""
        self._latest, self._stands = view, view.step
        self._due.set()

    def _stalled(self) -> bool:
        return self._full() and time.monotonic() - self._shown_at > STALLED_AFTER

    def _full(self) -> bool:
        return self._number - self._shown >= IN_FLIGHT

    async def _show(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._latest is None or self._full():
                continue
            view, self._latest = self._latest, None
            self._number += 1
            told, pictures = describe(view)
            about = {"type": "view", "number": self._number, "fps": round(self._meter.rate(), 1)}
            await self._say({**about, **told}, pictures)

    async def _tell_state(self, session: PlaySession) -> None:
        # The step tells which picture is the last to come while the game is paused.
        state = {"paused": self._paused, "step": self._stands, "fps": self._pace.fps, "recording": session.recording}
        await self._say({"type": "state", **state, "settings": dataclasses.asdict(session.settings)})

    async def _say(self, header: dict[str, Any], frames: Pictures | None = None) -> None:
        if frames is None:
            await self._socket.send_text(json.dumps(header, separators=(",", ":")))
        else:
            await self._socket.send_bytes(await asyncio.to_thread(protocol.pack, header, frames))
