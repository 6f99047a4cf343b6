"""What can be played: a run folder, with or without world model, policy and replay; or the package's demo model."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diffworld.config import PARTS, Config, Part, read_config, to_json
from diffworld.device import in_precision, resolve_device
from diffworld.errors import UserError
from diffworld.evaluation.games import make_game
from diffworld.files import atomic_folder
from diffworld.networks import Networks, build_networks
from diffworld.play.dreaming import Dreamer
from diffworld.play.starts import Starts, Window, collect_windows, windows_of
from diffworld.replay import Dataset
from diffworld.replay.format import DESCRIPTION
from diffworld.run_folder import RunFolder

DEMO_MODEL = Path(__file__).parent / "demo_model"
CONFIG, WEIGHTS, STARTS = "config.json", "weights.safetensors", "starts"

SMALL_BELOW = 64
"""Denoisers whose levels all have fewer channels are small: for their arithmetic neither casting to a narrower format
nor waking a second core pays; see docs/performance.md."""


@dataclass
class Model:
    """A loaded model, shared by every session of a server.

    Several threads use it at once: the networks do not learn and keep no state. The functions of `dreamer` may be
    replaced by compiled ones while sessions run. Nothing else of a model changes.
    """

    title: str
    """What it is called: the run's folder, or the demo."""
    config: Config
    networks: Networks
    """All three; those that were never trained are not used (see `has_dream`, `has_policy`)."""
    has_dream: bool
    """Whether there is a world model."""
    has_policy: bool
    """Whether there is an agent."""
    num_actions: int
    action_names: tuple[str, ...]
    no_game: str
    """Why the real game cannot be played here; empty where it can."""
    starts: Starts
    datasets: dict[str, Path]
    """Data sets that belong to it, by what they are: replay, held_out."""
    dreamer: Dreamer
    """The networks at work, for all players."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.config.environment.height, self.config.environment.width

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks.actor_critic.parameters()).device

    @property
    def small(self) -> bool:
        """Whether its networks are so small that one core in float32 is the fastest (see `SMALL_BELOW`)."""
        return is_small(self.config)

    @property
    def precision(self) -> str:
        """Number format of its networks, by the name that `device.in_precision` knows."""
        return "float32" if self.small else "auto"


def load_run(path: Path, device: str = "auto", threads: int = 1) -> Model:
    """The last checkpoint of the run folder `path`, ready to be played; `threads` is how many torch may use for it.

    UserError if it is no run folder, has no checkpoint yet, or is damaged.
    """
    run = RunFolder(path)
    if not run.exists():
        raise UserError(f"{path} is no run folder: give one that diffworld train has made, such as runs/NAME")
    found = {"replay": run.replay, "held_out": run.held_out}
    datasets = {name: folder for name, folder in found.items() if (folder / DESCRIPTION).exists()}
    config = run.config()
    if config.data and (Path(config.data) / DESCRIPTION).exists():
        datasets = {"data": Path(config.data), **datasets}
    return _build(path.resolve().name, config, run.weights(), datasets, device, threads)


def load_demo(device: str = "auto", threads: int = 1) -> Model:
    """The small model that comes with the package. UserError if this installation has none, or a damaged one."""
    if not (DEMO_MODEL / CONFIG).exists():
        raise UserError("this installation has no demo model: play a run of your own, with diffworld play RUN")
    try:
        weights = safetensors.torch.load_file(DEMO_MODEL / WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError("the package's demo model is damaged: install diffworld again") from error
    return _build("demo", read_config(DEMO_MODEL / CONFIG), weights, {"starts": DEMO_MODEL / STARTS}, device, threads)


def pack_model(path: Path, folder: Path, starts: int = 64) -> None:
    """Write the run at `path` to `folder` as small as it can be played: settings, weights, `starts` windows.

    This is how the package's demo model is made. Raises: UserError, see `load_run`.
    """
    model, run = load_run(path, "cpu"), RunFolder(path)
    windows = model.starts.windows()
    chosen = [windows[i] for i in np.linspace(0, len(windows) - 1, min(starts, len(windows))).round().astype(int)]
    with atomic_folder(folder) as new:
        config = dataclasses.replace(model.config, data="", init_from="")  # paths of the machine it was made on
        (new / CONFIG).write_text(to_json(config))
        # Half the size; in the shipped model it moves 1 % of a drawn frame's values by one level of 8 bits.
        weights = {name: tensor.half() for name, tensor in run.weights().items()}
        (new / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        info = {"env": model.config.env, "action_names": list(model.action_names)}
        shape = (*model.frame_size, 3)
        with Dataset.create(new / STARTS, shape, num_actions=model.num_actions, info=info) as dataset:
            for window in chosen:
                episode = dataset.new_episode()
                for frame, action, real in zip(window.frames, window.actions, window.has_frame, strict=True):
                    if real:
                        dataset.append(episode, frame, int(action), 0.0, False, False)


def _build(
    title: str, config: Config, weights: dict[str, Tensor], datasets: dict[str, Path], device: str, threads: int
) -> Model:
    parts = _trained(config, weights)
    actions = _num_actions(weights, title)
    names, no_game = _look_at_game(config, actions)
    networks = build_networks(config, actions, resolve_device(device))
    networks.load(weights, parts)
    for _, module in networks.items():
        module.eval().requires_grad_(False)
    policy = networks.actor_critic if "actor_critic" in parts else None
    beginnings = [datasets[name] for name in ("replay", "data", "starts", "held_out") if name in datasets]

    def load_starts() -> list[Window]:
        for folder in beginnings:
            with Dataset.open(folder) as dataset:
                if dataset.num_steps and dataset.format.frame_shape[:2] == (
                    config.environment.height,
                    config.environment.width,
                ):
                    return windows_of(dataset, config.denoiser.context_frames)
        if no_game:
            raise UserError(f"{title} has no replay to start dreams from, and its game cannot be played: {no_game}")
        return collect_windows(config, policy)

    return Model(
        title=title,
        config=config,
        networks=networks,
        has_dream={"denoiser", "reward_end"} <= set(parts),
        has_policy=policy is not None,
        num_actions=actions,
        action_names=names or _recorded_names(beginnings, actions),
        no_game=no_game,
        starts=Starts(load_starts),
        datasets=datasets,
        dreamer=_dreamer(networks, config, resolve_device(device), threads),
    )


def is_small(config: Config) -> bool:
    """Whether this denoiser is small (see `SMALL_BELOW`)."""
    return max(config.denoiser.channels) < SMALL_BELOW


def _dreamer(networks: Networks, config: Config, device: torch.device, threads: int) -> Dreamer:
    small = is_small(config)
    precision = "float32" if small else "auto"
    return Dreamer(
        in_precision(networks.denoiser.sample, device, precision),
        in_precision(networks.reward_end, device, precision),
        in_precision(networks.actor_critic, device, precision),
        threads=1 if small else threads,
    )


def _trained(config: Config, weights: dict[str, Tensor]) -> tuple[Part, ...]:
    """The networks that the weights hold and that have learnt something."""

    def learnt(part: Part) -> bool:
        if config.init_from and part in config.parts:
            return True
        updates = config.updates(part)
        return bool(updates.first_steps or updates.steps) and (part == "actor_critic" or not config.model_free)

    return tuple(part for part in PARTS if learnt(part) and any(name.startswith(f"{part}.") for name in weights))


def _num_actions(weights: dict[str, Tensor], title: str) -> int:
    for name in ("actor_critic.policy_head.weight", "reward_end.action_embedding.weight"):
        if name in weights:
            return len(weights[name])
    raise UserError(f"{title} holds neither an agent nor a world model: give another run")


def _look_at_game(config: Config, actions: int) -> tuple[tuple[str, ...], str]:
    """Names of the real game's actions, and why it cannot be played here (empty where it can)."""
    try:
        env = make_game(config, 1)
    except UserError as error:
        return (), str(error)
    names = tuple(env.action_names)
    env.close()
    if len(names) != actions:
        return (), f"{config.env} has {len(names)} actions, but the model was trained with {actions}"
    return names, ""


def _recorded_names(folders: list[Path], actions: int) -> tuple[str, ...]:
    """Action names as a data set tells them, else their numbers."""
    for folder in folders:
        try:
            names = json.loads((folder / DESCRIPTION).read_text())["info"].get("action_names")
        except (OSError, ValueError, KeyError, AttributeError):
            continue
        if isinstance(names, list) and len(names) == actions:
            return tuple(str(name) for name in names)
    return tuple(str(action) for action in range(actions))
