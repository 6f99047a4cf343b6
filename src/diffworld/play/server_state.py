"""What the players of one server share: the models they may choose from, stored episodes, the line of players."""

import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from diffworld.play import protocol
from diffworld.play.drawing import Dreamer
from diffworld.play.library import Library
from diffworld.play.queue import PlayerQueue
from diffworld.play.session import PlaySession
from diffworld.play.view import Pictures
from diffworld.runs import Model
from diffworld.runtime.device import use_threads


class ServerState:
    """Shared by all who play one model."""

    def __init__(
        self,
        model: Model,
        library: Library,
        recordings: Path | None,
        queue: PlayerQueue,
        command: str = "diffworld play",
    ) -> None:
        """`command` is what a page says starts the server again."""
        self.command, self.queue = command, queue
        self.model, self.library, self.recordings = model, library, recordings
        self.dreamer = Dreamer(model)
        self.files = ThreadPoolExecutor(1, "files", initializer=lambda: use_threads(1))
        """The one thread in which queries are answered."""

    def new_session(self) -> PlaySession:
        """A session for a player who has just come: the agent plays until a key is pressed."""
        player, seed = "human" if self.model.policy is None else "agent", secrets.randbelow(2**31)
        return PlaySession(self.model, self.recordings, self.library, self.dreamer, player=player, seed=seed)

    def answer(self, query: protocol.Query) -> tuple[dict[str, Any], Pictures | None]:
        """What the page asks beside the game: of stored episodes, and where dreams can start.

        Raises: UserError, where an id is unknown or an export fails.
        """
        library = self.library
        match query:
            case protocol.Starts():
                windows = self.model.starts.windows()
                page = list(enumerate(windows))[query.offset : query.offset + query.count]
                starts = [{"id": i, "episode": window.episode, "step": window.step} for i, window in page]
                return {"starts": starts, "total": len(windows)}, {str(i): window.frames[-1] for i, window in page}
            case protocol.Datasets():
                return {"datasets": library.datasets()}, None
            case protocol.Episodes():
                episodes = library.episodes(query.dataset, query.offset, query.count)
                pictures = {str(each["id"]): library.thumbnail(query.dataset, each["id"]) for each in episodes}
                return {"episodes": episodes}, {**pictures}
            case protocol.Table():
                return {"table": library.episode_table(query.dataset, query.episode)}, None
            case protocol.Frame():
                return {}, {"frame": library.frame(query.dataset, query.episode, query.step)}
            case protocol.Export():
                path = library.export(query.dataset, query.episode, query.kind, query.fps, query.beside)
                return {"film": path.parent.name, "name": path.name}, None
            case protocol.Rename():
                library.rename(query.dataset, query.title)
                return {}, None
            case protocol.Delete():
                library.delete(query.dataset)
                return {}, None

    def close(self) -> None:
        """Let the thread end, and remove the films."""
        self.files.shutdown(cancel_futures=True)
        self.library.close()


class Offer:
    """The models that players may choose from, by name; each is loaded when somebody first asks for it."""

    def __init__(self, models: Mapping[str, Callable[[], ServerState]]) -> None:
        self.names = list(models)
        self._models, self._loaded = models, dict[str, ServerState]()
        self._lock = threading.Lock()

    def of(self, name: str = "") -> tuple[str, ServerState]:
        """The model of that name, or the first where there is none; UserError if it cannot be loaded."""
        name = name if name in self._models else self.names[0]
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._models[name]()
            return name, self._loaded[name]

    def film(self, key: str) -> Path | None:
        """The film of that key, of whichever model."""
        return next((path for state in [*self._loaded.values()] if (path := state.library.film(key))), None)

    def close(self) -> None:
        """End all of them."""
        for state in self._loaded.values():
            state.close()
