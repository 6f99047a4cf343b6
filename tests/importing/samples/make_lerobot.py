"""python make_lerobot.py OUT video|image FIRST_SEED, with lerobot 0.4.4 (v3.0) or 0.3.3 (v2.1) installed."""

import sys
from pathlib import Path

import datasets.features.features as features
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from tests.importing.square import HEIGHT, WAYS, WIDTH, frame_of, play

SCALE = 4
encode = features.Value.encode_example
features.Value.encode_example = lambda self, v: encode(
    self, v.item() if isinstance(v, np.ndarray) else v
)  # of one number

out, kind, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
described = {
    "observation.images.top": {
        "dtype": kind,
        "shape": (HEIGHT * SCALE, WIDTH * SCALE, 3),
        "names": ["height", "width", "channels"],
    },
    "observation.state": {"dtype": "float32", "shape": (2,), "names": ["row", "column"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["down", "right"]},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
}
data = LeRobotDataset.create("me/square", fps=15, features=described, root=out, use_videos=kind == "video")
for episode in range(3):
    steps = 8 + 2 * episode
    places, pressed = play(steps, seed=first + episode)
    for t in range(steps):
        frame = {
            "observation.images.top": frame_of(places[t], SCALE),
            "observation.state": np.array(places[t], np.float32),
            "action": np.array([sum(WAYS[key][axis] for key in pressed[t]) for axis in (0, 1)], np.float32),
            "next.reward": np.array([t / 4], np.float32),
            "next.done": np.array([t == steps - 1]),
        }
        if hasattr(data, "finalize"):
            data.add_frame({**frame, "task": "go"})
        else:
            data.add_frame(frame, task="go")
    data.save_episode()
if hasattr(data, "finalize"):
    data.finalize()
