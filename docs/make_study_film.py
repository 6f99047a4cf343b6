"""The study's film: python -m docs.make_study_film runs/sweep-minatar

Of the first seed of each game: a game that was set aside, and below it the dream of the same actions, from its first
frames on. docs/images/minatar.gif.
"""

import sys
from pathlib import Path

import numpy as np

from diffworld.data import Dataset
from diffworld.evaluation.films import dream_beside_real
from diffworld.runs import load
from diffworld.runtime.errors import UserError
from diffworld.runtime.frames import Film
from diffworld.runtime.video import enlarge, side_by_side, write_gif

FRAMES, SCALE, GAP = 60, 12, 6
IMAGES = Path(__file__).parent / "images"


def main(campaign: Path) -> None:
    runs = sorted(place.parent for place in campaign.glob("dreams/*/seed-0/summary.json"))
    if not runs:
        raise UserError(f"{campaign} has no finished run of dreams with seed 0")
    films = {run.parent.name.removeprefix("minatar-").replace("_", " "): one_above_the_other(run) for run in runs}
    path = IMAGES / "minatar.gif"
    write_gif(path, side_by_side(list(films.values()), list(films), scale=1), fps=6, scale=1)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def one_above_the_other(run: Path) -> Film:
    """The game above, its dream below, FRAMES frames; the longest game that was set aside, its last frame held."""
    model = load(run, "cpu")
    world = model.require_world()
    with Dataset.open(run / "held_out") as data:
        episode = max(data.episodes[:], key=lambda each: each.length)
        frames = data.episode_frames(episode.id)
        actions = data.episodes.records["action"][data.episodes.rows(data.episodes.position(episode.id))]
    films = dream_beside_real(world, None, frames, actions.astype(np.int64), world.context_frames - 1, FRAMES)
    gap = np.full((len(films.real), GAP, SCALE * frames.shape[2], 3), 24, np.uint8)
    above, below = (np.stack([enlarge(frame, SCALE) for frame in film]) for film in (films.real, films.same_actions))
    film = np.concatenate([above, gap, below], axis=1)[:FRAMES]
    return np.concatenate([film, np.repeat(film[-1:], FRAMES - len(film), axis=0)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
