"""What all ranks of a training must agree on before it begins; whoever differs is named in one line."""

from pathlib import Path
from typing import Any
from zlib import crc32

import torch

from diffworld.config import differences
from diffworld.data import Dataset
from diffworld.envs.make import make_game
from diffworld.game import GameSpec
from diffworld.runs.folder import MAY_CHANGE, Checkpoint, RunFolder
from diffworld.runtime.errors import UserError
from diffworld.runtime.ranks import Ranks
from diffworld.runtime.versions import differing, installed


def agree(ranks: Ranks, given: tuple[Any, Path, bool], precision: torch.dtype) -> None:
    """UserError unless all ranks are of one version, were given the same settings and folder, and compute alike."""

    def settings_differ(first: tuple[Any, Path, bool], other: tuple[Any, Path, bool]) -> str:
        changed = [c for c in differences(first[0], other[0]) if c.split()[0] not in MAY_CHANGE]
        for name, x, y in zip(("out", "shard_optimisers"), first[1:], other[1:], strict=True):
            changed += [f"{name} ({x} -> {y})"] if x != y else []
        return f"was given other settings than rank 0: {', '.join(changed[:4])}" if changed else ""

    def formats_differ(first: str, other: str) -> str:
        return f"computes in {other}, and rank 0 in {first}: give --precision" if first != other else ""

    if ranks.several:
        ranks.agree(installed(), lambda first, other: differing(first, other, "rank 0"))
        ranks.agree(given, settings_differ)
        ranks.agree(str(precision).removeprefix("torch."), formats_differ)


def agree_on_data(ranks: Ranks, data: Dataset) -> None:
    """UserError unless all ranks have the same data, as far as what their rows say tells."""

    def differ(first: int, other: int) -> str:
        return f"has other data in {data.path} than rank 0: give every machine the same" if first != other else ""

    if ranks.several:
        ranks.agree(crc32(data.episodes.records.tobytes()), differ)


def check_game(ranks: Ranks, spec: GameSpec) -> None:
    """UserError where a rank cannot open the game, in which all will play test games."""
    if not ranks.first:
        make_game(spec).close()
    ranks.all(None)  # none goes on before all are sure


def last_checkpoint(run: RunFolder, ranks: Ranks) -> Checkpoint | None:
    """The checkpoint to go on from, which all ranks must see; UserError where this version cannot resume it."""

    def unseen(first: str, other: str) -> str:
        disk = "put the run folder on a disk that all machines share"
        return f"sees {other or 'no checkpoint'} in {run.path}, and rank 0 {first or 'none'}: {disk}"

    if ranks.several:
        last = next((path.name for path in reversed(run.checkpoints())), "")
        ranks.agree(last, lambda first, other: unseen(first, other) if first != other else "")
    checkpoint = run.load()
    if checkpoint is not None and "recipe" not in checkpoint.state:
        raise UserError(
            "the version before began this run: it can be played and evaluated, but not resumed; "
            "train on from it in another folder with --init-from"
        )
    return checkpoint
