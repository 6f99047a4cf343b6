"""The model that `diffworld play --demo` plays, made anew (about 45 minutes; its training resumes):

    python docs/make_demo_model.py [--work FOLDER]

Records Boxing with a player who holds each random action for a while, trains world model and agent on that fixed
data with a few thousand updates of networks small enough for several players on one processor, and packs the result
into src/diffworld/runs/demo_model/.
"""

import argparse
import shlex
import sys
from pathlib import Path

from diffworld.cli import main as diffworld
from diffworld.data import Dataset
from diffworld.runs import load, pack
from diffworld.runs.loading import DEMO_MODEL

STEPS = 24_000
RECORD = f"record --env atari/Boxing --hold 0.8 --steps {STEPS} --seed 0 --height 48 --width 48"
TRAIN = """
train --preset demo --recipe world --networks denoiser reward_end actor_critic --epochs 5
--denoiser-updates.first-steps 2400 --denoiser-updates.steps 2400 --denoiser-updates.learning-rate 1e-3
--reward-end-updates.first-steps 500 --reward-end-updates.steps 300
--actor-critic-updates.first-steps 50 --actor-critic-updates.steps 100 --actor-critic-updates.batch-size 32
--actor-critic-updates.learning-rate 1e-3
--evaluation.every-epochs 0 --evaluation.final-episodes 8 --evaluation.num-envs 8
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for the data and the run")
    work = parser.parse_args().work
    data, run = work / "boxing-data", work / "boxing"
    if data.exists():
        with Dataset.open(data) as recording:
            if recording.num_steps < STEPS:
                sys.exit(f"{data} was not recorded to its end: remove it and run this again")
    else:
        recorded = diffworld([*shlex.split(RECORD), "--out", str(data)])
        if recorded:
            return recorded
    trained = diffworld([*shlex.split(TRAIN), "--data", str(data), "--out", str(run)])
    if not trained:
        pack(load(run, "cpu"), DEMO_MODEL)
        print(f"packed into {DEMO_MODEL}")
    return trained


if __name__ == "__main__":
    sys.exit(main())
