"""What the benchmarks share: data to time with, a clock, the machine, the command line, the look of figures."""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffworld.commands.parsing import parse, split_commas
from diffworld.config import Config
from diffworld.data import Dataset
from diffworld.runtime.device import native_bfloat16, resolve_device
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import atomic_file
from diffworld.runtime.malloc import keep_memory
from diffworld.training.trainer import Trainer

NUM_ACTIONS = 4
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#777777")
"""A palette that colour-blind readers can tell apart (Okabe and Ito 2008)."""

T = TypeVar("T")


def random_data(config: Config, folder: Path) -> Dataset:
    """Noise of the right shape: the time of an update does not depend on what it shows."""
    shape = (config.environment.height, config.environment.width, 3)
    dataset, rng = Dataset.create(folder / "data", shape, num_actions=NUM_ACTIONS), np.random.default_rng(0)
    episode = dataset.new_episode()
    for _ in range(256):
        dataset.append(episode, rng.integers(0, 256, shape, dtype=np.uint8), 0, 0.0, False, False)
    return dataset


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


def machine(ours: Trainer) -> dict[str, Any]:
    """What the numbers were measured on."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "processor": torch.cuda.get_device_name() if ours.device.type == "cuda" else name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "native_bfloat16": native_bfloat16(ours.device),
        "ours": f"{str(ours.dtype).removeprefix('torch.')}, compile {ours.config.compile}",
        "matrix_product_gflops": peak(resolve_device(ours.config.device), ours.dtype) / 1e9,
    }


def command(
    options: type[T],
    program: str,
    run: Callable[[T], None],
    arguments: list[str] | None = None,
    stopped: str = "stopped",
) -> int:
    """Parse the arguments into `options` and run; the exit code: 2 after a UserError, which is one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_memory()  # as the `diffworld` command does, before the first large tensor
    try:
        run(parse(options, program, split_commas(arguments, ("--data", "--held-out", "--out"))))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    return 0


def check_pair(data: Path, held_out: Path, dataset: Dataset, held_out_dataset: Dataset) -> int:
    """The number of actions of --data and --held-out; UserError where the two do not go together."""
    if data.resolve() == held_out.resolve():
        raise UserError("--held-out is --data itself: give episodes that training does not see")
    if dataset.format.num_actions is None:
        raise UserError(f"{data} has multi-hot actions: give a data set with discrete ones")
    for what in ("frame_shape", "num_actions"):
        a, b = getattr(dataset.format, what), getattr(held_out_dataset.format, what)
        if a != b:
            raise UserError(f"--data and --held-out differ in {what} ({a}, {b}): record both with the same settings")
    return dataset.format.num_actions


def require_positive(options: Any, *names: str) -> None:
    """UserError for an option among `names` that is below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be at least 1")


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
