"""Record a game of Gymnasium as any program of your own would: MP4s with a line of JSON a frame, without diffworld.

    pip install "gymnasium[toy-text]" av
    python examples/record_frozen_lake.py --minutes 60 --out recordings

FrozenLake: a figure walks over the ice to a flag, by the arrow keys, and may fall into a hole. Each game has a lake of
its own, and is a file: the picture that it ends with is the last one there, and no line belongs to it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

KEYS = ("left", "down", "right", "up")  # in the order of the game's actions
SPEED = 4  # times a second that the player holds a key or none


class Player:
    """It wanders where a game goes on; when its patience is over, towards the flag, minding the holes or not."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.patience, self.careful = rng, rng.exponential(15), rng.random() < 0.5

    def choose(self, ways: dict[int, list[tuple[float, int, float, bool]]]) -> int | None:
        """A key's number, or None; `ways`: chance, place, reward and end of what each key leads to."""
        self.patience -= 1
        while self.rng.random() > 0.15:
            key = int(self.rng.choice(4, p=[0.25, 0.25, 0.25, 0.25] if self.patience > 0 else [0.15, 0.35, 0.35, 0.15]))
            ((_, _, reward, ends),) = ways[key]
            if not ends or (self.patience <= 0 and (reward or not self.careful)):
                return key
        return None


def play(env: Any, player: Player, path: Path) -> int:
    """Record one game; how many steps it took."""
    place, _ = env.reset()
    frame, steps, over = env.render(), 0, False
    with av.open(str(path), "w") as video, open(path.with_suffix(".jsonl"), "w") as log:
        stream = video.add_stream("libx264", rate=SPEED, options={"crf": "18"})
        (stream.height, stream.width), stream.pix_fmt = frame.shape[:2], "yuv420p"
        while not over:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            key, reward, terminated, truncated = player.choose(env.unwrapped.P[place]), 0.0, False, False
            if key is not None:
                place, reward, terminated, truncated, _ = env.step(key)
            keys = [] if key is None else [KEYS[key]]
            line = {"keys": keys, "reward": reward, "terminated": terminated, "truncated": truncated}
            log.write(json.dumps(line) + "\n")
            frame, steps, over = env.render(), steps + 1, terminated or truncated
        video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        video.mux(stream.encode())
    return steps


def record(folder: Path, minutes: float, seed: int) -> None:
    rng, steps, done, games = np.random.default_rng(seed), int(minutes * 60 * SPEED), 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    while done < steps:
        lake = generate_random_map(size=4, seed=int(rng.integers(2**31)))
        env = gymnasium.make("FrozenLake-v1", desc=lake, is_slippery=False, render_mode="rgb_array")
        done += play(env, Player(rng), folder / f"{games:05}.mp4")
        env.close()
        games += 1
        if games % 50 == 0:
            print(f"{games:,} games, {done:,} of {steps:,} steps", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of the game's own time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("recordings"))
    arguments = parser.parse_args()
    record(arguments.out, arguments.minutes, arguments.seed)
