"""The whole configuration of a run: one tree of frozen dataclasses, each field documented where it stands.

A preset (`presets.py`) returns a `Config`; the command line overrides any field; a run keeps the result as
`config.json`, which is read back strictly.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from diffworld.agent.actor_critic import ActorCriticConfig
from diffworld.agent.returns import ReturnConfig
from diffworld.errors import UserError
from diffworld.nn.blocks import num_groups, num_heads
from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.reward_end import RewardEndConfig
from diffworld.world_model.sampler import SamplerConfig

Part = Literal["denoiser", "reward_end", "actor_critic"]
PARTS: tuple[Part, ...] = ("denoiser", "reward_end", "actor_critic")


@dataclass(frozen=True)
class EnvironmentConfig:
    """How the real game is presented; the defaults are those of the Atari 100k benchmark."""

    height: int = 64
    """Height of the frames."""
    width: int = 64
    """Width of the frames."""
    frame_skip: int = 4
    """Game frames an action lasts (Atari only)."""
    noop_max: int = 30
    """Fewer than this many idle frames at the start of a game, drawn at random (Atari only)."""
    sticky_actions: float = 0.0
    """Probability that the game repeats the previous action instead."""
    life_loss_ends: bool = True
    """In training, losing a life ends the episode for the learner (the game goes on)."""
    max_steps: int = 0
    """Truncate games after this many steps; 0 leaves the game's own limit."""


@dataclass(frozen=True)
class CollectionConfig:
    """Steps taken in the real game."""

    total_steps: int = 100_000
    """Real steps in all."""
    first_steps: int = 5_000
    """Steps before the first update ..."""
    first_steps_max: int = 10_000
    """... and on, up to this many, until `first_rewards` is met."""
    first_rewards: int = 10
    """Rewards off the commonest sign that the first collection should find."""
    steps_per_epoch: int = 100
    """Steps of each later epoch."""
    epsilon: float = 0.01
    """Share of uniformly random actions."""
    temperature: float = 1.0
    """Temperature of the policy's actions."""
    num_envs: int = 1
    """Games played side by side."""


@dataclass(frozen=True)
class UpdateConfig:
    """How one network is updated."""

    first_steps: int
    """Updates in the first epoch."""
    steps: int
    """Updates in each later epoch."""
    learning_rate: float = 1e-4
    """AdamW's learning rate."""
    first_learning_rate: float = 0.0
    """In the first epoch it falls linearly from this value (not in the paper); 0 keeps it constant."""
    half_life: int = 0
    """After the first epoch it halves with every so many updates (not in the paper); 0 keeps it constant."""
    weight_decay: float = 1e-2
    """AdamW's weight decay; never on biases, norms and embeddings."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    warmup: int = 100
    """Updates over which the learning rate grows linearly from 0."""
    batch_size: int = 32
    """Windows (or dreams) of an update."""
    accumulate: int = 1
    """Micro-batches of that size an update; their losses are summed."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Tests in the real game."""

    every_epochs: int = 10
    """Epochs between tests; 0 tests only at the end."""
    episodes: int = 4
    """Games of a test."""
    final_episodes: int = 100
    """Games of the last test."""
    random_episodes: int = 20
    """Games of the random policy, to compare with."""
    temperature: float = 1.0
    """Temperature of the policy's actions."""
    num_envs: int = 20
    """Games played side by side."""
    held_out_steps: int = 4_000
    """Steps of the first two test games kept for the held-out losses, at most."""
    held_out_windows: int = 128
    """Windows the held-out losses are measured on."""


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run does."""

    env: str = "atari/Breakout"
    """The real game: atari/<Game>, gym/<registered id> or minatar/<game>."""
    seed: int = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the networks' arithmetic; auto takes bfloat16 where the processor has it natively."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the networks (minutes at the start); auto does so on CUDA."""
    data: str = ""
    """Train on this data set instead of collecting."""
    epochs_on_data: int = 50
    """Epochs with --data."""
    init_from: str = ""
    """Start from the weights of this run ..."""
    parts: tuple[Part, ...] = PARTS
    """... taking these networks of it."""
    model_free: bool = False
    """Train the actor-critic on the real game itself, for as many real steps as collection.total_steps."""
    epochs_after_collection: int = 50
    """Epochs once all real steps are taken."""
    autoregressive_steps: int = 1
    """Frames the denoiser predicts from its own predictions in training, k."""
    horizon: int = 15
    """Steps of a dream, and of the agent's rollout, H."""
    reward_end_window: int = 15
    """Steps of a reward/end window beyond its context frames."""
    reward_end_drawn_share: float = 0.0
    """After the first epoch, share of the reward/end windows whose frames the denoiser draws, as dreams will show
    them (not in the paper: for denoisers too small to draw all that tells of a reward)."""
    rewarded_share: float = 0.0
    """Share of the reward/end model's windows drawn about a rewarded step, and of dreams that start shortly before one
    (not in the paper: for games that seldom reward random play)."""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    reward_end: RewardEndConfig = field(default_factory=RewardEndConfig)
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    denoiser_updates: UpdateConfig = field(default_factory=lambda: UpdateConfig(10_000, 400))
    reward_end_updates: UpdateConfig = field(default_factory=lambda: UpdateConfig(10_000, 400, clip=100.0))
    actor_critic_updates: UpdateConfig = field(
        default_factory=lambda: UpdateConfig(5_000, 400, weight_decay=0.0, clip=100.0)
    )
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint_seconds: float = 60.0
    """Save at least this often (and at the end, and on Ctrl-C)."""
    checkpoints_kept: int = 3
    """How many of the last checkpoints stay."""
    wandb: bool = False
    """Also log to Weights & Biases."""
    trackio: bool = False
    """Also log to Trackio."""

    def updates(self, part: Part) -> UpdateConfig:
        """The update settings of a network."""
        return {
            "denoiser": self.denoiser_updates,
            "reward_end": self.reward_end_updates,
            "actor_critic": self.actor_critic_updates,
        }[part]

    def check(self) -> None:
        """UserError for values that cannot work together."""
        for name in ("denoiser", "reward_end"):
            c = getattr(self, name)
            if not len(c.channels) == len(c.depths) == len(c.attention) >= 1:
                raise UserError(f"{name}.channels, .depths and .attention need one entry a level each")
        if not len(self.actor_critic.channels) == len(self.actor_critic.pool) >= 1:
            raise UserError("actor_critic.channels and .pool need one entry a stage each")
        for name in ("denoiser", "reward_end", "actor_critic"):
            for channels in getattr(self, name).channels:
                if channels < 1 or channels % num_groups(channels) or channels % num_heads(channels):
                    raise UserError(f"{name}.channels has {channels}: take multiples of 32, or of 8 below 32")
        s = self.sampler
        if s.order not in (1, 2):
            raise UserError(f"sampler.order is {s.order}; it must be 1 (Euler) or 2 (Heun)")
        if not (0 < s.sigma_min <= s.sigma_max and s.rho > 0):
            raise UserError("sampler.sigma_min and .rho must be above 0, and .sigma_max no less than .sigma_min")
        if self.autoregressive_steps < 0:
            raise UserError(f"autoregressive_steps is {self.autoregressive_steps}; it must be at least 0")
        for part in PARTS:
            for name in ("first_learning_rate", "half_life"):
                if getattr(self.updates(part), name) < 0:
                    raise UserError(f"{part}_updates.{name} must not be below 0")
        for share in ("reward_end_drawn_share", "rewarded_share"):
            if not 0 <= getattr(self, share) <= 1:
                raise UserError(f"{share} is {getattr(self, share)}; it must lie between 0 and 1")
        for value, name in (
            (self.sampler.denoising_steps, "sampler.denoising_steps"),
            (self.horizon, "horizon"),
            (self.reward_end_window, "reward_end_window"),
            (self.denoiser.context_frames, "denoiser.context_frames"),
            (self.collection.num_envs, "collection.num_envs"),
            (self.evaluation.num_envs, "evaluation.num_envs"),
            (self.environment.height, "environment.height"),
            (self.environment.width, "environment.width"),
            (self.checkpoints_kept, "checkpoints_kept"),
            (self.evaluation.final_episodes, "evaluation.final_episodes"),
            (self.evaluation.random_episodes, "evaluation.random_episodes"),
            (self.evaluation.held_out_steps, "evaluation.held_out_steps"),
            (self.denoiser.cond_channels, "denoiser.cond_channels"),
            (self.reward_end.cond_channels, "reward_end.cond_channels"),
            (self.reward_end.lstm_channels, "reward_end.lstm_channels"),
            (self.actor_critic.lstm_channels, "actor_critic.lstm_channels"),
            (min(self.denoiser.depths), "the least of denoiser.depths"),
            (min(self.reward_end.depths), "the least of reward_end.depths"),
            *((self.updates(part).batch_size, f"{part}_updates.batch_size") for part in PARTS),
            *((self.updates(part).accumulate, f"{part}_updates.accumulate") for part in PARTS),
        ):
            if value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        d = self.denoiser
        if d.cond_channels % 2 or d.cond_channels % d.context_frames:
            raise UserError("denoiser.cond_channels must be even and a multiple of denoiser.context_frames")


def to_json(config: Any) -> str:
    """A configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


T = TypeVar("T")


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """Build dataclass `cls` from `to_json`'s data; unknown, missing or wrongly typed fields are a UserError."""
    if not isinstance(data, dict):
        raise UserError(f"{where} should be a JSON object")
    hints = get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if data.keys() != names:
        odd = sorted(data.keys() ^ names)[0]
        raise UserError(f"{where} has {'an unknown' if odd in data else 'no'} field '{odd}': another version wrote it")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if origin is Literal and value in get_args(hint):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise UserError(f"{where} has an unfit value: {value!r}")


def read_config(path: Path) -> Config:
    """Read a run's `config.json`."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return from_dict(Config, data, path.name)


def differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    """Names of the fields in which two configurations differ."""
    found = []
    for f in dataclasses.fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if dataclasses.is_dataclass(x):
            found += differences(x, y, f"{prefix}{f.name}.")
        elif x != y:
            found.append(f"{prefix}{f.name} ({x} -> {y})")
    return found
