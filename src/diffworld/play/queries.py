"""Answers to what the page asks beside the game: about stored episodes, and where dreams can start."""

from typing import Any

from diffworld.play import protocol
from diffworld.play.server_state import ServerState
from diffworld.play.view import Pictures


def answer(server: ServerState, query: protocol.Query) -> tuple[dict[str, Any], Pictures | None]:
    """Look up, or export, what the page asks for.

    Raises: UserError, where an id is unknown or the export fails.
    """
    library = server.library
    match query:
        case protocol.Starts():
            windows = server.model.starts.windows()
            page = list(enumerate(windows))[query.offset : query.offset + query.count]
            starts = [{"id": i, "episode": window.episode, "step": window.step} for i, window in page]
            return {"starts": starts, "total": len(windows)}, {str(i): window.frames[-1] for i, window in page}
        case protocol.Datasets():
            return {"datasets": library.datasets()}, None
        case protocol.Episodes():
            return {"episodes": library.episodes(query.dataset, query.offset, query.count)}, None
        case protocol.Table():
            return {"table": library.episode_table(query.dataset, query.episode)}, None
        case protocol.Frame():
            return {}, {"frame": library.frame(query.dataset, query.episode, query.step)}
        case protocol.Export():
            path = library.export(query.dataset, query.episode, query.kind, query.fps)
            return {"film": path.parent.name, "name": path.name}, None
