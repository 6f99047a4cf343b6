"""What goes to the page: a view as header and pictures, and answers about stored episodes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffworld.play import protocol
from diffworld.play.server_state import ServerState
from diffworld.play.view import View, plain

Frames = dict[str, NDArray[np.uint8] | None]
KINDS = {"mp4": "video/mp4", "gif": "image/gif"}


def describe(view: View) -> tuple[dict[str, Any], Frames]:
    """A view's numbers, fit for JSON, and its pictures; rows of pictures are joined from left to right."""
    header = {
        "step": view.step,
        "score": _number(view.score),
        "real_score": _number(view.real_score),
        "action": plain(view.action),
        "player": view.player,
        "reward": _number(view.reward),
        "real_reward": _number(view.real_reward),
        "ended": view.ended,
        "truncated": view.truncated,
        "why": view.why,
        "reward_probs": _numbers(view.reward_probs),
        "end_prob": _number(view.end_prob),
        "policy": _numbers(view.policy),
        "value": _number(view.value),
        "entropy": _number(view.entropy),
        "milliseconds": {name: _number(value) for name, value in view.milliseconds.items()},
        "kept": view.kept,
    }
    frames: Frames = {"dream": view.dream, "real": view.real, "difference": view.difference}
    if view.inside is not None:
        frames |= {"context": _row(view.inside.context), "trajectory": _row(view.inside.trajectory)}
    return header, frames


def answer(house: ServerState, query: protocol.Query) -> tuple[dict[str, Any], Frames | None]:
    """Look up, or export, what the page asks for.

    Raises: UserError, where an id is unknown or the export fails.
    """
    library = house.library
    match query:
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
            name = f"{query.dataset}-episode-{query.episode}.{query.kind}"
            return {"film": house.offer(path, name), "name": name}, None


def _row(frames: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Frames (n, H, W, 3) side by side (H, n W, 3); None for none."""
    return np.concatenate(list(frames), axis=1) if len(frames) else None


def _number(value: float | None) -> float | None:
    """JSON has no infinities; a network that was trained into the ground may."""
    return round(float(value), 5) if value is not None and math.isfinite(value) else None


def _numbers(values: Any) -> list[float | None] | None:
    return None if values is None else [_number(value) for value in np.asarray(values).reshape(-1).tolist()]
