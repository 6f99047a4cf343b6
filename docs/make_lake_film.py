"""The page "Your own game": film and numbers of dreams of FrozenLake, from a run that has its data.

    python -m docs.make_lake_film RUN [GAME ...]

Each game that was set aside is dreamt from its first frames, once of the keys that were held in it, and once of random
keys that would end no game. docs/data/lake.json tells how often the dreamt figure stands where the game's rules say,
and how dreams end. docs/images/lake.gif shows GAMEs (places among those set aside) beside both dreams.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffworld.data import Dataset, held_out_episodes
from diffworld.game import Keys
from diffworld.runs import Model, load
from diffworld.runtime.frames import Film, frames_from_bytes, to_numpy
from diffworld.runtime.video import enlarge, side_by_side, write_gif
from diffworld.world.noise import generator_noise

HERE = Path(__file__).parent
STEPS, LONGEST, SIDE = (1, 10, 60, 120, 240), 240, 4
"""After which figures are looked for; steps of a dream of random keys; cells of a lake a side."""
WAYS = {"left": (0, -1), "down": (1, 0), "right": (0, 1), "up": (-1, 0)}
FAINT, OF_WATER = 3.0, 140.0
"""Levels, of a cell's mean: less than the first is no figure; red below the second is a hole."""
SCALE, INK = 6, (150, 20, 20)
Cell = tuple[int, int]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Game:
    """A recorded game: frames (T + 1, H, W, 3), the key of each step, and what the last step paid."""

    frames: Film
    keys: list[str]
    paid: float


@dataclass(frozen=True)
class Dreams:
    """Dreams of B games: `frames` (T + 1, B, H, W, 3), the one they begin from first; of each step the likeliest sign
    of the reward `paid`, and whether an end was likelier than none, `over` (T, B)."""

    frames: Film
    paid: Ints
    over: NDArray[np.bool_]


def main(run: Path, shown: list[int]) -> None:
    model = load(run, "cpu")
    n = model.context_frames
    with Dataset.open(model.datasets["data"]) as data:
        games = held_out_games(data, n)
        learnt = np.flatnonzero(~held_out_episodes(data.episodes))
        known = {water(data.gather_frames(data.episodes.rows(int(place)))).tobytes() for place in learnt}
    rng = np.random.default_rng(0)
    walks = [walk(game, n, rng) for game in games]
    same = dreamt(model, games, [game.keys[n - 1 :] for game in games])
    walked = dreamt(model, games, [keys for keys, _ in walks])
    found = {
        "games": len(games),
        "on lakes of no game that was learnt from": sum(
            water(game.frames[:-1]).tobytes() not in known for game in games
        ),
        "random keys": standing(games, [cells for _, cells in walks], walked, n),
        "ends": {"won": ends(games, same, n, won=True), "lost": ends(games, same, n, won=False)},
        "random keys, dreams that end in error": int(walked.over.any(0).sum()),
    }
    (HERE / "data" / "lake.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    write_film(model, games, same, walked, [keys for keys, _ in walks], shown)


def held_out_games(data: Dataset, context: int) -> list[Game]:
    """Those that were set aside and ended by themselves, after the frames that a dream begins from."""
    (keys,), found = data.spec.actions.parts, []
    assert isinstance(keys, Keys)
    kept = held_out_episodes(data.episodes) & data.episodes.terminated & (data.episodes.lengths >= context)
    for place in np.flatnonzero(kept):
        episode, rows = data.episodes[int(place)], data.episodes.rows(int(place))
        frames = data.gather_frames(np.append(rows, data.episodes.final_rows[place]))
        held = ["".join(name for name, down in zip(keys.names, row, strict=True) if down) for row in episode.actions]
        found.append(Game(frames, held, float(episode.rewards[-1])))
    return found


@torch.no_grad()
def dreamt(model: Model, games: list[Game], keys: list[list[str]]) -> Dreams:
    """Dream on from each game's first frames, of those keys; shorter ones go on with none."""
    (part,), world, n = model.spec.actions.parts, model.require_world(), model.context_frames
    assert isinstance(part, Keys)
    longest = max(map(len, keys))
    held = [[*game.keys[: n - 1], *mine, *[""] * (longest - len(mine))] for game, mine in zip(games, keys, strict=True)]
    actions = torch.tensor([[[name == key for name in part.names] for key in row] for row in held], dtype=torch.uint8)
    noise = generator_noise(torch.Generator().manual_seed(0))
    state = world.start(frames_from_bytes(torch.from_numpy(np.stack([g.frames[:n] for g in games]))), actions[:, :n])
    frames, paid, over = [to_numpy(state.frame)], [], []
    for step in range(longest):
        state, drawn = world.step(state, actions[:, n - 1 + step], noise)
        assert drawn.reward_logits is not None and drawn.end_logits is not None
        frames.append(to_numpy(drawn.frames))
        paid.append(drawn.reward_logits.argmax(-1).numpy() - 1)
        over.append(drawn.end_logits.argmax(-1).numpy() == 1)
    return Dreams(np.stack(frames), np.stack(paid), np.stack(over))


def empty_lake(game: Game) -> Film:
    """(H, W, 3): without the figure, which is darker than what it stands on and soon goes on. The last frame, in which
    a hole may have broken, does not count."""
    return game.frames[:-1].max(0)


def by_cell(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """(..., H, W) averaged over each cell (..., SIDE, SIDE)."""
    high, wide = (side // SIDE for side in pixels.shape[-2:])
    return pixels.reshape(*pixels.shape[:-2], SIDE, high, SIDE, wide).mean((-3, -1))


def water(frames: Film) -> NDArray[np.bool_]:
    """(SIDE, SIDE) which cells are holes, in frames (T, H, W, 3) of one lake."""
    return by_cell(frames.max(0)[..., 0].astype(np.float64)) < OF_WATER


def figure(frame: Film, empty: Film) -> Cell | None:
    """The cell in which a frame differs most from the empty lake, if it does."""
    change = by_cell(np.abs(frame.astype(np.int64) - empty).mean(-1))
    y, x = np.unravel_index(int(change.argmax()), change.shape)
    return (int(y), int(x)) if change.max() > FAINT else None


def walk(game: Game, context: int, rng: np.random.Generator) -> tuple[list[str], list[Cell]]:
    """Random keys from the frame on that a dream begins from, and where they lead by the rules: never to an end."""
    empty, holes = empty_lake(game), water(game.frames[:-1])
    place = figure(game.frames[context - 1], empty) or (0, 0)
    keys: list[str] = []
    cells: list[Cell] = []
    while len(keys) < LONGEST:
        key = str(rng.choice(["", *WAYS]))
        down, right = WAYS.get(key, (0, 0))
        led = (min(max(place[0] + down, 0), SIDE - 1), min(max(place[1] + right, 0), SIDE - 1))
        if holes[led] or led == (SIDE - 1, SIDE - 1):
            continue
        place = led
        keys.append(key)
        cells.append(place)
    return keys, cells


def standing(games: list[Game], cells: list[list[Cell]], dreams: Dreams, context: int) -> dict[int, dict[str, float]]:
    """After so many steps: in what share of dreams the figure is where it should be, and would be if it never moved."""
    found = {}
    for step in STEPS:
        true = [each[step - 1] for each in cells]
        drawn = [figure(dreams.frames[step, i], empty_lake(game)) for i, game in enumerate(games)]
        still = [figure(game.frames[context - 1], empty_lake(game)) for game in games]
        found[step] = {
            "dream": round(float(np.mean([a == b for a, b in zip(drawn, true, strict=True)])), 3),
            "last frame repeated": round(float(np.mean([a == b for a, b in zip(still, true, strict=True)])), 3),
        }
    return found


def ends(games: list[Game], dreams: Dreams, context: int, won: bool) -> dict[str, int]:
    """Of games won or lost: how many dreams of the same keys end with them, and how many pay what they paid."""
    told = {"games": 0, "end at the very step": 0, "end earlier": 0, "pay as the game": 0}
    for i, game in enumerate(games):
        if (game.paid > 0) == won:
            last = len(game.keys) - context
            over = np.flatnonzero(dreams.over[: last + 1, i])
            told["games"] += 1
            told["end at the very step"] += int(len(over) > 0 and over[0] == last)
            told["end earlier"] += int(len(over) > 0 and over[0] < last)
            told["pay as the game"] += int(len(over) > 0 and dreams.paid[over[0], i] == np.sign(game.paid))
    return told


def write_film(
    model: Model, games: list[Game], same: Dreams, walked: Dreams, keys: list[list[str]], shown: list[int]
) -> None:
    """Games one after another: what happened, what was dreamt of the same keys, and of random ones."""
    n, parts = model.context_frames, []
    for i in shown:
        game, length = games[i], len(games[i].keys) - n + 1
        films = [
            captioned(game.frames[n - 1 :], game.keys[n - 1 :]),
            captioned(same.frames[: length + 1, i], game.keys[n - 1 :]),
            captioned(walked.frames[: length + 1, i], keys[i]),
        ]
        parts.append(side_by_side(films, ["the game", "a dream, same keys", "a dream, other keys"], scale=1))
    path = HERE / "images" / "lake.gif"
    write_gif(path, np.concatenate(parts), model.spec.steps_per_second / 2, scale=1)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {sum(map(len, parts))} frames")


def captioned(frames: Film, keys: list[str]) -> Film:
    """Enlarged, with the key below that leads to each frame's next one."""
    font, film = ImageFont.load_default(14), []
    for at, frame in enumerate(frames):
        picture = enlarge(frame & 0xF8, SCALE)  # fewer colours, or the GIF grows large of noise
        image = Image.fromarray(np.pad(picture, ((0, 22), (0, 0), (0, 0)), constant_values=24))
        text = (keys[at] or "no key") if at < len(frames) - 1 else ""
        ImageDraw.Draw(image).text((6, image.height - 20), text, fill=(236, 236, 236), font=font)
        film.append(np.asarray(image))
    return np.stack(film)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(place) for place in sys.argv[2:]] or [0, 4, 3])
