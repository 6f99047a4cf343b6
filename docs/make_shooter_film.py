"""The shooter's film, from a run that has its data: python docs/make_shooter_film.py RUN [START] [EPISODE]

Eight seconds side by side: a game that was set aside, the dream of the same actions, and a dream from start
START that the script below plays by pressing keys and turning. Writes docs/images/vizdoom.webp, of 2 MB at most.
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from diffworld.data import Dataset, held_out_episodes
from diffworld.evaluation.films import dream_beside_real
from diffworld.game import ActionSpace, Choice, Encoded
from diffworld.runs import Model, load, window_tensors
from diffworld.runtime.frames import Film, to_numpy
from diffworld.runtime.video import enlarge, side_by_side
from diffworld.world.noise import generator_noise

OUT = Path(__file__).parent / "images" / "vizdoom.webp"
SECONDS, SCALE, LARGEST = 8, 2, 2_000_000
PLAYED: list[tuple[float, set[str], str]] = [
    (0.6, {"w"}, "0"),
    (1.0, {"w"}, "6"),
    (0.5, {"left click"}, "0"),
    (1.0, {"w"}, "-6"),
    (0.7, {"left click"}, "-2"),
    (0.6, {"d"}, "-14"),
    (0.5, {"left click"}, "0"),
    (0.8, {"a"}, "14"),
    (0.8, {"w", "left click"}, "2"),
    (0.5, {"w"}, "30"),
    (1.0, {"w"}, "-2"),
]
"""Seconds, the keys that are held in them where the game knows these, and degrees that the mouse turns a step."""


def main(run: Path, start: int = 0, episode: int | None = None) -> None:
    model = load(run, "cpu")
    length = round(SECONDS * model.spec.steps_per_second)
    real, same = beside_real(model, length, episode)
    films = [real, same, played(model, start, length)]
    frames = side_by_side(
        [np.stack([enlarge(frame, SCALE) for frame in film]) if i < 2 else film for i, film in enumerate(films)],
        ["the game", "a dream of the same actions", "a dream, played by keys and mouse"],
        scale=1,
    )
    data = next(found for quality in range(85, 0, -7) if len(found := encoded(frames, quality, model)) <= LARGEST)
    OUT.write_bytes(data)
    print(f"{OUT.name}: {len(data) / 1e6:.2f} MB, {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}")


def beside_real(model: Model, length: int, episode: int | None) -> tuple[Film, Film]:
    """A game that was set aside, the longest unless `episode` names another of them, and the dream of its actions."""
    with Dataset.open(model.datasets["data"]) as data:
        held_out = np.flatnonzero(held_out_episodes(data.episodes))
        place = int(held_out[np.argmax(data.episodes.lengths[held_out]) if episode is None else episode])
        rows = data.episodes.rows(place)[: length + model.context_frames + 1]
        films = dream_beside_real(
            model.require_world(), None, data.gather_frames(rows), data.episodes.records["action"][rows], 0, length
        )
    return films.real, films.same_actions


@torch.no_grad()
def played(model: Model, start: int, length: int) -> Film:
    """A dream in which the script acts, enlarged, what it does written below."""
    world, noise = model.require_world(), generator_noise(torch.Generator().manual_seed(0))
    state = world.start(*window_tensors([model.starts[start]], model.device))
    film = [captioned(to_numpy(state.frame)[0], "")]
    for step in range(length):
        action, said = acted(model.spec.actions, step / model.spec.steps_per_second)
        state, _ = world.step(state, torch.from_numpy(np.asarray(action))[None], noise)
        film.append(captioned(to_numpy(state.frame)[0], said))
    return np.stack(film)


def acted(space: ActionSpace, second: float) -> tuple[Encoded, str]:
    """What the script does at that second, encoded and in words; from its end it begins anew."""
    ends = np.cumsum([seconds for seconds, *_ in PLAYED])
    _, keys, turn = PLAYED[int(np.searchsorted(ends, second % ends[-1], side="right"))]
    values = [
        part.values.index(turn if part.name == "mouse x" else "0")
        if isinstance(part, Choice)
        else np.array([name in keys for name in part.names], np.uint8)
        for part in space.parts
    ]
    known = keys.intersection(*[part.names for part in space.parts if not isinstance(part, Choice)])
    way = "" if turn == "0" else f"turn {'left' if turn.startswith('-') else 'right'}"
    return space.encode(values), " + ".join([*sorted(known, reverse=True), *([way] if way else [])])


def captioned(frame: np.ndarray, text: str) -> np.ndarray:
    image = Image.fromarray(enlarge(frame, SCALE))
    ImageDraw.Draw(image).text(
        (6, image.height - 18), text, fill=(255, 255, 120), stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return np.asarray(image)


def encoded(frames: Film, quality: int, model: Model) -> bytes:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    out, duration = io.BytesIO(), round(1000 / model.spec.steps_per_second)
    first.save(out, "WEBP", save_all=True, append_images=rest, duration=duration, loop=0, quality=quality, method=4)
    return out.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
