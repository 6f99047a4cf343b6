"""The one way in which anything trained is loaded: `diffworld.load`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffworld.agents.policy import ActorCriticPolicy
from diffworld.config import Config
from diffworld.data import Dataset, DatasetSchema
from diffworld.data.schema import DESCRIPTION
from diffworld.envs import EnvironmentConfig, Policy, RandomPolicy
from diffworld.envs.make import make_env, make_game
from diffworld.game import ActionSpace, GameSpec
from diffworld.models.actor_critic import ActorCritic
from diffworld.recipes.networks import Networks, build_networks, build_world, require_layers
from diffworld.runs.folder import RunFolder
from diffworld.runs.packed import Packed, read_packed, write_packed
from diffworld.runs.starts import COLLECT_GAMES, Starts, Window, collect_windows, windows_of
from diffworld.runtime.device import resolve_device, resolve_precision, resolve_threads
from diffworld.runtime.errors import UserError
from diffworld.world import WorldModel

DEMO, DEMOS = "demo", Path(__file__).parent / "demos"
"""Instead of a path: demo/NAME is a small model that comes with the package, demo the first of them."""
FIRST_DEMO = "boxing"


@dataclass(repr=False)
class Model:
    """What was trained, ready for use: its game, its world model and its agent, as far as it has them.

    Networks do not learn and keep no state, so several threads may use them at once.
    """

    title: str
    """What it is called: the run's folder, the exported file, or demo."""
    spec: GameSpec
    config: Config
    networks: Networks
    world: WorldModel[Any] | None
    starts: Starts
    """Where its dreams may begin."""
    device: torch.device
    datasets: dict[str, Path] = field(default_factory=dict)
    """Data sets that belong to it, by what they are: replay, data, held_out."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """What its checkpoint says of the training: epoch, saves, wall_seconds, env_steps."""
    licence: str = ""
    """What others may do with it, in the words of who exported it; empty where nobody said."""

    @property
    def policy(self) -> ActorCritic | None:
        """Its agent."""
        return self.networks.actor_critic

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {count:,}" for name, count in self.networks.parameter_counts().items())
        height, width = self.spec.frame_size
        game = self.spec.name or "a recording"
        return f"<Model {self.title} of {game}, {height}x{width}, on {self.device}; parameters: {sizes}>"

    def __deepcopy__(self, memo: object) -> Model:
        """The same model: it does not change, and Gymnasium copies what an environment was made with."""
        return self

    @property
    def threads(self) -> int:
        """How many threads torch should compute with on a CPU."""
        return resolve_threads(self.config.small)

    @property
    def context_frames(self) -> int:
        """Frames that its dreams begin with, n; as many are kept of a real game where it has no dreams."""
        return self.config.context_frames

    @functools.cached_property
    def no_game(self) -> str:
        """Why the real game cannot be played here; empty where it can."""
        try:
            make_game(self.spec).close()
        except UserError as error:
            return str(error)
        return ""

    def require_world(self) -> WorldModel[Any]:
        """Its world model; UserError if there is none."""
        if self.world is None:
            raise UserError(f"{self.title} has no dream: give a run whose world model was trained")
        return self.world

    def require_policy(self) -> ActorCritic:
        """Its agent; UserError if there is none."""
        if self.policy is None:
            raise UserError(f"{self.title} has no agent: give a run that trained one, or --demo breakout")
        return self.policy

    def player(
        self, rows: int, *, temperature: float = 1.0, epsilon: float = 0.0, seed: int | None = None
    ) -> ActorCriticPolicy:
        """Its agent as a player of real games; UserError if there is none.

        With `seed` its draws come from a generator of their own.
        """
        agent = self.require_policy()
        generator = None if seed is None else torch.Generator(self.device).manual_seed(seed)
        return ActorCriticPolicy(agent, rows, temperature=temperature, epsilon=epsilon, generator=generator)


def load(path: str | Path = DEMO, device: str = "auto", precision: str = "") -> Model:
    """What was trained in the run folder `path`, from its last checkpoint; or an exported file, which may come from
    anybody; or a model of the package's own for "demo" or "demo/NAME".

    precision: float32, bfloat16 or auto; by default auto for networks that are not small.

    Raises: UserError, one line, if there is nothing trained at that path, or it is damaged.
    """
    if name := demo_name(path):
        return _load_packed(DEMOS / f"{name}.zip", f"{DEMO}/{name}", device, precision)
    if is_packed(path):
        return _load_packed(Path(path), Path(path).stem, device, precision)
    run = RunFolder(Path(path))
    if not run.exists():
        raise UserError(
            f"{path} is no run folder: give a folder that diffworld train has made, a file of diffworld export, "
            f"or one of {', '.join(f'{DEMO}/{name}' for name in demo_names())}"
        )
    checkpoint, config = run.trained(), run.config()
    found = {
        "starts": run.starts,
        "replay": run.replay,
        "data": Path(config.data) if config.data else None,
        "held_out": run.held_out,
    }
    datasets = {name: folder for name, folder in found.items() if folder and (folder / DESCRIPTION).exists()}
    spec = run.spec() or _older_spec(config.env, config.environment, list(datasets.values()), checkpoint.weights)
    known = {k: v for k, v in checkpoint.progress.items() if k in ("env_steps", "replay_rows")}
    progress = {**checkpoint.progress.get("progress", {}), **known}
    trained = Packed(config, spec, checkpoint.weights, windows=())
    model = _assemble(Path(path).resolve().name, trained, device, precision)
    model.starts, model.datasets, model.progress = Starts(lambda: _load_starts(model)), datasets, progress
    return model


def untrained(env_id: str, settings: EnvironmentConfig) -> Model:
    """A real game with nothing learnt of it yet, to be played and recorded; UserError if it cannot be made."""
    with closing(make_env(env_id, settings)) as env:
        spec = env.spec
    config = Config(env=env_id, environment=settings)
    return Model(env_id.partition("/")[2], spec, config, Networks(), None, Starts(list), torch.device("cpu"))


def demo_names() -> list[str]:
    """What the package's own models are called."""
    return sorted(file.stem for file in DEMOS.glob("*.zip"))


def demo_name(path: str | Path) -> str:
    """Which of the package's own models "demo" or "demo/NAME" is; empty for any other path.

    UserError for a name that none has, and where nothing else is called so.
    """
    word, _, name = str(path).partition("/")
    names = demo_names()
    if word != DEMO or (name not in names and Path(path).exists()):
        return ""
    if (name or FIRST_DEMO) not in names:
        raise UserError(
            f"there is no demo {name!r}: choose one of {', '.join(names)}"
            if name and names
            else "this installation has no demo model: give a run of your own"
        )
    return name or FIRST_DEMO


def is_packed(path: str | Path) -> bool:
    """Whether that is one file, as an export is and a model of the package's own, and no folder to write to."""
    return bool(demo_name(path)) or Path(path).is_file()


def pack(model: Model, path: Path, starts: int = 64, licence: str = "") -> None:
    """Write a model as one file (see `packed.py`): settings, game, weights in bfloat16, `starts` windows, a licence."""
    windows = model.starts.windows()
    chosen = [windows[i] for i in np.linspace(0, len(windows) - 1, min(starts, len(windows))).round().astype(int)]
    weights = {name: tensor.bfloat16() for name, tensor in model.networks.tensors().items()}
    write_packed(Packed(model.config, model.spec, weights, chosen, licence or model.licence), path)


def _load_packed(path: Path, title: str, device: str, precision: str) -> Model:
    packed = read_packed(path)
    try:
        return _assemble(title, packed, device, precision)
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error


def _assemble(title: str, trained: Packed, device: str, precision: str) -> Model:
    config, spec, weights, windows = trained.config, trained.spec, trained.weights, trained.windows
    where = resolve_device(device)
    learnt = tuple(name for name in config.learnt if any(key.startswith(f"{name}.") for key in weights))
    config.check_networks()
    require_layers([getattr(config, name).depths for name in learnt if name != "actor_critic"], len(weights))
    with (nowhere := torch.device("meta")):  # nothing is built of what a damaged file may ask for
        build_networks(config, spec, nowhere, learnt).load(weights)
    networks = build_networks(config, spec, where, learnt)
    networks.load(weights)
    for _, module in networks.items():
        module.eval().requires_grad_(False)
    dtype = resolve_precision(precision or ("float32" if config.small else "auto"), where)
    world = build_world(networks, (config.sampler, config.upsampler_sampler), dtype)
    if world is not None and where.type == "cuda":
        world.record()
    starts = Starts(lambda: list(windows))
    return Model(title, spec, config, networks, world, starts, where, licence=trained.licence)


def _load_starts(model: Model) -> list[Window]:
    n = model.context_frames
    for folder in model.datasets.values():
        with Dataset.open(folder) as dataset:
            if dataset.num_steps and not dataset.spec.differences(replace(model.spec, name=dataset.spec.name)):
                return windows_of(dataset, n)
    if model.no_game:
        raise UserError(f"{model.title} has no data to start dreams from, and no game to play: {model.no_game}")
    with closing(make_game(model.spec, COLLECT_GAMES)) as env:
        policy: Policy = model.player(COLLECT_GAMES, seed=0) if model.policy else RandomPolicy(model.spec.actions)
        return collect_windows(env, policy, n, model.config.seed)


def _older_spec(env: str, settings: EnvironmentConfig, folders: list[Path], weights: dict[str, Tensor]) -> GameSpec:
    """The game of a run that the version before wrote: as its data tell it, else as the weights' shapes do."""
    presented = asdict(settings)
    for folder in folders:
        return replace(DatasetSchema.read(folder).spec, name=env, presented=presented)
    tables = ("actor_critic.policy_head.weight", "reward_end.action_embedding.weight")
    size = next((len(weights[name]) for name in tables if name in weights), 0)
    if not size:
        raise UserError("the run holds neither an agent nor a world model: give another run")
    return GameSpec(env, settings.height, settings.width, ActionSpace.discrete(size), presented=presented)
