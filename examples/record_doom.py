"""Record a game of Doom as any program of your own would: an MP4 with a line of JSON a frame, without diffworld.

    pip install vizdoom av
    python examples/record_doom.py --minutes 60 --out recordings

The player wanders: it walks, bends its way, looks about, and turns where it gets stuck.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import vizdoom

TICS = 4  # of 1/35 s, that an action lasts
KEYS = {"left": vizdoom.Button.TURN_LEFT, "right": vizdoom.Button.TURN_RIGHT, "up": vizdoom.Button.MOVE_FORWARD}


def new_game(scenario: str, seed: int) -> vizdoom.DoomGame:
    game = vizdoom.DoomGame()
    game.load_config(f"{vizdoom.scenarios_path}/{scenario}.cfg")
    game.set_available_buttons(list(KEYS.values()))
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_seed(seed)
    game.init()
    return game


def wander(rng: np.random.Generator) -> tuple[set[str], int]:
    """Keys to hold, and for how many steps."""
    side = str(rng.choice(["left", "right"]))
    kind = rng.choice(4, p=[0.45, 0.25, 0.25, 0.05])
    return [{"up"}, {"up", side}, {side}, set()][kind], int(rng.integers(2, [16, 8, 10, 4][kind]))


def record(folder: Path, scenario: str, minutes: float, seed: int) -> None:
    rng, game, speed = np.random.default_rng(seed), new_game(scenario, seed), Fraction(35, TICS)
    folder.mkdir(parents=True, exist_ok=True)
    held, left, before = set[str](), 0, None
    with av.open(str(folder / f"{scenario}.mp4"), "w") as video, open(folder / f"{scenario}.jsonl", "w") as log:
        stream = video.add_stream("libx264", rate=speed, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        steps = int(minutes * 60 * speed)
        for step in range(steps):
            frame = game.get_state().screen_buffer
            stuck = held == {"up"} and before is not None and np.abs(frame.astype(int) - before).mean() < 1
            if left == 0 or stuck:
                held, left = wander(rng)
            before, left = frame.astype(int), left - 1
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            game.make_action([key in held for key in KEYS], TICS)
            over = game.is_episode_finished()
            cut = over and not game.is_player_dead()
            log.write(json.dumps({"keys": sorted(held), "terminated": over and not cut, "truncated": cut}) + "\n")
            if over:
                game.new_episode()
                before = None
            if step % 2_000 == 0:
                print(f"{step:,} of {steps:,} steps", flush=True)
        video.mux(stream.encode())
    game.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="health_gathering", help="of those that ViZDoom brings")
    parser.add_argument("--minutes", type=float, default=60, help="of the game's own time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("recordings"))
    arguments = parser.parse_args()
    record(arguments.out, arguments.scenario, arguments.minutes, arguments.seed)
