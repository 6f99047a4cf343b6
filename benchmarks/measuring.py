"""What the benchmarks share: something to time, a clock, the machine, the command line, the look of results."""

import json
import math
import platform
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffworld.cli import answered
from diffworld.commands.parsing import parse_checked, split_commas
from diffworld.config import RECIPE_NETWORKS, Config
from diffworld.data import Dataset
from diffworld.game import ActionSpace, GameSpec
from diffworld.game.counter_strike import ACTIONS
from diffworld.models.reward_end import NUM_REWARDS, RewardEndModel
from diffworld.runtime.device import native_bfloat16, resolve_device, resolve_precision
from diffworld.runtime.errors import HelpShown, UserError
from diffworld.runtime.files import atomic_file, write_atomic
from diffworld.runtime.malloc import keep_memory
from diffworld.training.run import make_trainer
from diffworld.training.trainer import Trainer

NUM_ACTIONS = 4
END_PROBABILITY = 1 / 50
"""How often a dream's step ends it, as in real runs of Atari games."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777")
"""A palette that colour-blind readers can tell apart (Okabe and Ito 2008)."""

T = TypeVar("T")


def noise_spec(config: Config) -> GameSpec:
    """No game; frames are as large as in a run of `config`."""
    e = config.environment
    actions = ACTIONS if config.recipe == "shooter" else ActionSpace.discrete(NUM_ACTIONS)
    return GameSpec("noise", e.height, e.width, actions)


def random_data(config: Config, folder: Path) -> Dataset:
    """Noise of the right shape: the time of an update does not depend on what it shows."""
    spec, rng = noise_spec(config), np.random.default_rng(0)
    dataset = Dataset.create(folder / "data", spec)
    episode = dataset.new_episode()
    for _ in range(256):
        frame = rng.integers(0, 256, spec.frame_shape, dtype=np.uint8)
        dataset.append(episode, frame, spec.actions.idle, 0.0, False, False)
    return dataset


def untrained(config: Config, dataset: Dataset) -> Trainer:
    """A trainer of a world's networks on a data set; its dreams end as often as those of trained networks."""
    if config.recipe != "shooter":
        config = replace(config, recipe="world", networks=RECIPE_NETWORKS["world"])
    trainer = make_trainer(config, dataset.spec, dataset, None)
    if trainer.networks.reward_end is not None:
        end_at_times(trainer.networks.reward_end)
    return trainer


def end_at_times(model: RewardEndModel, probability: float = END_PROBABILITY) -> None:
    """Make an untrained model end dreams with that probability a step; else every other step would end them."""
    with torch.no_grad():
        model.head[0].bias[0] = 20.0  # a hidden unit that is large whatever the input
        model.head[2].weight[NUM_REWARDS:] = 0
        model.head[2].weight[NUM_REWARDS:, 0] = torch.tensor([1.0, -1.0]) * math.log(1 / probability - 1) / 40


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """The fastest of ten matrix products, FLOP/s: large ones on a GPU, small ones in (slow) emulated bfloat16."""
    size = 256 if dtype == torch.bfloat16 and not native_bfloat16(device) else 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(10))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long work takes, to its end on the device."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def machine(config: Config) -> dict[str, Any]:
    """What a run of `config` is measured on."""
    device = resolve_device(config.device)
    dtype = resolve_precision(config.precision, device)
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "processor": torch.cuda.get_device_name() if device.type == "cuda" else name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "native_bfloat16": native_bfloat16(device),
        "ours": f"{str(dtype).removeprefix('torch.')}, compile {config.compile}",
        "matrix_product_gflops": peak(device, dtype) / 1e9,
    }


def command(
    options: type[T],
    program: str,
    run: Callable[[T], None],
    arguments: list[str] | None = None,
    stopped: str = "stopped",
) -> int:
    """Parse the arguments into `options` and run; the exit code, and one line where something is wrong, as of the
    `diffworld` command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_memory()  # as the `diffworld` command does, before the first large tensor

    def work() -> int:
        try:
            run(parse_checked(options, program, split_commas(arguments, ("--data", "--held-out", "--out"))))
        except KeyboardInterrupt:
            print(stopped, file=sys.stderr)
            return 130
        except HelpShown:
            pass
        return 0

    return answered(work)


def check_pair(data: Dataset, held_out: Dataset) -> None:
    """UserError where the data sets of --data and --held-out do not go together."""
    if data.path.resolve() == held_out.path.resolve():
        raise UserError("--held-out is --data itself: give episodes that training does not see")
    for what in ("frame_size", "actions.size", "actions.is_discrete"):
        a, b = (attrgetter(what)(dataset.spec) for dataset in (data, held_out))
        if a != b:
            raise UserError(f"--data and --held-out differ in {what} ({a}, {b}): record both with the same settings")


def make_folder(path: Path) -> None:
    """The folder of the results; UserError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path} ({error.strerror}): choose another --out") from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, labels and grid of one set of axes."""
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def write_compact_json(path: Path | str, record: Any) -> None:
    """Write indented JSON, but lists of plain values on one line each."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(
        r"\[[^\[\]{}\"]*\]", lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text
    )
    write_atomic(path, text + "\n")
