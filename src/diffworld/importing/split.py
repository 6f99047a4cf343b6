"""Which recordings are set aside to measure on: those that a file names, or a share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from diffworld.importing.recording import Recording
from diffworld.runtime.errors import UserError

_LARGEST = 2**26  # bytes of a list of names


def set_aside(recordings: Sequence[Recording], split: str) -> tuple[tuple[str, ...], list[str]]:
    """Names of the recordings that `split` sets aside, and a word on them; UserError for a split that cannot be.

    split: a file with the name of a file a line, without its folder; or a share, such as 0.1; nothing without.
    """
    if not split:
        return (), []
    path = Path(split)
    if path.exists():
        names, said = _listed(recordings, path)
    else:
        names, said = _share(recordings, split), []
    if len(names) == len(recordings):
        raise UserError(f"--split {split} sets aside all {len(recordings):,} recordings: none is left to learn from")
    return names, [*said, f"set aside to measure on: {len(names):,} of {len(recordings):,} recordings"]


def _listed(recordings: Sequence[Recording], path: Path) -> tuple[tuple[str, ...], list[str]]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("it is too large for a list of names")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}): give a text file with the name of a file a line") from error
    wanted = dict.fromkeys(line for line in lines if line)
    for name in wanted:
        if "/" in name or "\\" in name:
            raise UserError(f"{path} has '{name[:80]}': give names of files without their folders")
    found = {each.name: PurePosixPath(each.name).name for each in recordings}
    names = tuple(name for name, file in found.items() if file in wanted)
    missing = [name for name in wanted if name not in found.values()]
    if not names:
        some = f", such as {missing[0][:80]}" if missing else ""
        raise UserError(f"{path} names {len(wanted):,} files{some}, and none of them is among the recordings")
    if not missing:
        return names, []
    count = f"{len(missing):,} of its {len(wanted):,} files"
    return names, [f"{path}: {count} are not among the recordings, such as {missing[0][:80]}"]


def _share(recordings: Sequence[Recording], split: str) -> tuple[str, ...]:
    """Recordings from all over, as many as the share says."""
    try:
        share = float(split)
    except ValueError:
        raise UserError(f"--split is '{split}', which is no file: give one, or a share such as 0.1") from None
    if not 0 < share < 1:
        raise UserError(f"--split is {split}: give a share between 0 and 1, such as 0.1, or a file of names")
    if len(recordings) < 2:
        raise UserError(f"--split {split} needs two recordings or more, and there is one: leave it out")
    count = max(1, round(share * len(recordings)))
    places = ((np.arange(count) + 0.5) / count * len(recordings)).astype(np.int64)
    return tuple(recordings[place].name for place in places.tolist())
