"""The whole configuration of a run: one tree of frozen dataclasses, each field documented where it stands.

A preset (`presets.py`) returns a `Config`; the command line overrides any field; a run keeps the result as
`config.json`, which is read back strictly. Components see their own section, never the whole.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from diffworld.agents.returns import ReturnConfig
from diffworld.envs.base import EnvironmentConfig
from diffworld.models.actor_critic import ActorCriticConfig
from diffworld.models.denoiser import DenoiserConfig, UpsamplerConfig
from diffworld.models.reward_end import RewardEndConfig
from diffworld.models.sampler import SamplerConfig
from diffworld.nn.blocks import num_groups, num_heads
from diffworld.runtime.checked import MOST_GAMES, Amount, Count, Games, Natural, Positive, Share, checked, read_as
from diffworld.runtime.errors import UserError
from diffworld.runtime.files import read_json

NetworkName = Literal["denoiser", "upsampler", "reward_end", "actor_critic"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)
RecipeName = Literal["diamond", "world", "shooter", "model_free"]
RECIPE_NETWORKS: dict[RecipeName, tuple[NetworkName, ...]] = {
    "diamond": ("denoiser", "reward_end", "actor_critic"),
    "world": ("denoiser", "reward_end", "actor_critic"),
    "shooter": ("denoiser", "upsampler", "reward_end"),
    "model_free": ("actor_critic",),
}
"""What each recipe can train."""
OF_DATA: tuple[RecipeName, ...] = ("world", "shooter")
"""Recipes that learn from a fixed data set, without a game."""
SECOND_STAGE = {"upsampler", "upsampler_updates", "upsampler_sampler"}
"""Sections of recipe shooter alone."""

SMALL_BELOW = 64
"""Networks whose levels all have fewer channels are small: for their arithmetic neither casting to a narrower format
nor waking a second core pays; see docs/performance.md."""


@dataclass(frozen=True)
class CollectionConfig:
    """Steps taken in the real game."""

    total_steps: Count = 100_000
    """Real steps in all."""
    first_steps: Count = 5_000
    """Steps before the first update; up to twice as many until ten rewards are off the commonest sign."""
    steps_per_epoch: Count = 100
    """Steps of each later epoch."""
    epsilon: Share = 0.01
    """Share of uniformly random actions."""
    temperature: Amount = 1.0
    """Temperature of the policy's actions."""
    num_envs: Games = 1
    """Games played side by side."""


@dataclass(frozen=True)
class UpdateConfig:
    """How one network is updated."""

    first_steps: Natural
    """Updates in the first epoch."""
    steps: Natural
    """Updates in each later epoch."""
    learning_rate: Amount = 1e-4
    """AdamW's learning rate."""
    weight_decay: Amount = 1e-2
    """AdamW's weight decay; never on biases, norms and embeddings."""
    clip: Positive = 1.0
    """Largest norm of the gradient."""
    warmup: Natural = 100
    """Updates over which the learning rate grows linearly from 0."""
    batch_size: Count = 32
    """Windows (or dreams) of a batch."""
    accumulate: Count = 1
    """Batches of an update; their losses are summed."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Tests: games of the agent, and losses on what was never trained on."""

    every_epochs: Natural = 10
    """Epochs between tests; 0 tests only at the end."""
    episodes: Natural = 4
    """Games of a test."""
    final_episodes: Count = 100
    """Games of the last test, by the agent and as many at random."""
    temperature: Amount = 1.0
    """Temperature of the policy's actions."""
    num_envs: Games = 20
    """Games played side by side."""


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run does."""

    recipe: RecipeName = "diamond"
    """What is trained: diamond (world model and agent, collecting), world (a world model from --data, no game needed),
    shooter (the same in two stages, small frames and then large ones) or model_free (the same agent in the real game
    itself)."""
    env: str = "atari/Breakout"
    """The real game: atari/<Game>, minatar/<game>, gym/<registered id>, or gym/<module>:<Id> of a module that registers
    it; not looked at with --data."""
    data: str = ""
    """Data set to learn from (recipes world and shooter)."""
    networks: tuple[NetworkName, ...] = ()
    """Networks to train; none named: all of the recipe, but of world the agent and of shooter the reward/end model only
    if they are named."""
    seed: Natural = 0
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the networks' arithmetic; auto takes bfloat16 where the processor has it natively."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the networks (minutes at the start); auto does so on CUDA."""
    init_from: str = ""
    """Start from the weights of this run ..."""
    init_networks: tuple[NetworkName, ...] = NETWORKS
    """... taking these networks of it."""
    epochs: Natural = 50
    """Epochs once all real steps are taken; with --data, in all."""
    horizon: Count = 15
    """Steps of a dream, and of the agent's rollout, H."""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    denoiser_updates: UpdateConfig = field(default_factory=lambda: UpdateConfig(10_000, 400))
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    upsampler: UpsamplerConfig = field(default_factory=UpsamplerConfig)
    upsampler_updates: UpdateConfig = field(default_factory=lambda: UpdateConfig(400, 400))
    upsampler_sampler: SamplerConfig = field(default_factory=lambda: SamplerConfig(1))
    reward_end: RewardEndConfig = field(default_factory=RewardEndConfig)
    reward_end_updates: UpdateConfig = field(default_factory=lambda: UpdateConfig(10_000, 400, clip=100.0))
    actor_critic: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    actor_critic_updates: UpdateConfig = field(
        default_factory=lambda: UpdateConfig(5_000, 400, weight_decay=0.0, clip=100.0)
    )
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint_seconds: Amount = 60.0
    """Save at least this often (and at the end, and on Ctrl-C)."""
    log_to: tuple[Literal["wandb", "trackio"], ...] = ()
    """Where else to log, besides metrics.jsonl and TensorBoard."""

    def updates(self, network: NetworkName) -> UpdateConfig:
        """The update settings of a network."""
        settings: UpdateConfig = getattr(self, f"{network}_updates")
        return settings

    def steps(self, network: NetworkName) -> int:
        """Steps of a row in a batch of a network."""
        return {
            "denoiser": 1 + self.denoiser.autoregressive_steps,
            "upsampler": 1 + self.upsampler.autoregressive_steps,
            "reward_end": self.context_frames + self.reward_end.window - 1,
            "actor_critic": self.horizon,
        }[network]

    @property
    def context_frames(self) -> int:
        """Real frames that a dream begins with: as many as any stage sees."""
        stages = [self.denoiser, self.upsampler] if self.recipe == "shooter" else [self.denoiser]
        return max(stage.context_frames for stage in stages)

    @property
    def factor(self) -> int:
        """How many times smaller than the game's, a side, the frames are that move a dream on."""
        return self.upsampler.factor if self.recipe == "shooter" else 1

    @property
    def small(self) -> bool:
        """Whether the network that takes most of the time is so small that one core in float32 is the fastest."""
        if self.recipe == "shooter":  # whole frames, however few channels they have, keep two cores busy
            return False
        channels = self.actor_critic.channels if self.recipe == "model_free" else self.denoiser.channels
        return max(channels) < SMALL_BELOW

    @property
    def learnt(self) -> tuple[NetworkName, ...]:
        """The networks that learn something in such a run, or come from another one."""
        trained = [name for name in NETWORKS if self.updates(name).first_steps or self.updates(name).steps]
        mine = [name for name in trained if name in RECIPE_NETWORKS[self.recipe]]
        taken = self.init_networks if self.init_from else ()
        return tuple(name for name in NETWORKS if name in mine or name in taken)

    @property
    def total_epochs(self) -> int:
        """Epochs of such a run, if the first collection is no longer than it must be."""
        c, a = self.collection, self.actor_critic_updates
        if self.recipe in OF_DATA:
            return self.epochs
        if self.recipe == "model_free":
            updates = -(-c.total_steps // (a.accumulate * a.batch_size * self.horizon))
            return 1 + max(0, -(-(updates - a.first_steps) // max(a.steps, 1)))
        return 1 + max(0, -(-(c.total_steps - c.first_steps) // c.steps_per_epoch)) + self.epochs

    def of_rank(self, ranks: int) -> "Config":
        """What each of so many ranks computes with: its part of every batch. UserError where parts are not equal."""
        optional = {"world": "actor_critic", "shooter": "reward_end"}.get(self.recipe)
        parts: dict[str, Any] = {}
        for name in self.networks or [name for name in RECIPE_NETWORKS[self.recipe] if name != optional]:
            updates = self.updates(name)
            if updates.batch_size % ranks:
                raise UserError(
                    f"{name}_updates.batch_size is {updates.batch_size}, of which {ranks} ranks have no equal "
                    f"parts: take a multiple of {ranks}, or another number of ranks"
                )
            parts[f"{name}_updates"] = dataclasses.replace(updates, batch_size=updates.batch_size // ranks)
        return dataclasses.replace(self, **parts)

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def check(self) -> None:
        """UserError for a value out of its range, and for values that cannot work together."""
        checked(self)
        self.check_networks()
        for name in ("sampler", "upsampler_sampler"):
            if getattr(self, name).sigma_min > getattr(self, name).sigma_max:
                raise UserError(f"{name}.sigma_max must be no less than {name}.sigma_min")
        if bool(self.data) != (self.recipe in OF_DATA):
            recipe = self.recipe if self.recipe in OF_DATA else "world"
            raise UserError(f"recipe {recipe} and --data go together: give both or neither")
        if self.recipe == "model_free" and not self.actor_critic_updates.steps:
            raise UserError("actor_critic_updates.steps is 0: the model-free baseline would never take all real steps")
        if self.recipe == "model_free" and self.actor_critic_updates.batch_size > MOST_GAMES:
            raise UserError(
                f"actor_critic_updates.batch_size is {self.actor_critic_updates.batch_size}; the model-free baseline "
                f"plays a game for each row, at most {MOST_GAMES}"
            )
        if self.recipe in OF_DATA and not self.epochs:
            raise UserError("epochs is 0: nothing would be trained on the data; give --epochs")

    def check_networks(self) -> None:
        """UserError for networks that cannot be built."""
        for name in ("denoiser", "upsampler", "reward_end"):
            c = getattr(self, name)
            if not len(c.channels) == len(c.depths) == len(c.attention) >= 1:
                raise UserError(f"{name}.channels, .depths and .attention need one entry a level each")
        if not len(self.actor_critic.channels) == len(self.actor_critic.pool) >= 1:
            raise UserError("actor_critic.channels and .pool need one entry a stage each")
        for name in NETWORKS:
            for channels in getattr(self, name).channels:
                if channels % num_groups(channels) or channels % num_heads(channels):
                    raise UserError(f"{name}.channels has {channels}: take multiples of 32, or of 8 below 32")
        for name in ("denoiser", "upsampler"):
            d = getattr(self, name)
            if d.cond_channels % 2 or d.cond_channels % d.context_frames:
                raise UserError(f"{name}.cond_channels must be even and a multiple of {name}.context_frames")


def read_config(path: Path) -> Config:
    """Read a run's `config.json`, also of the version before; UserError, one line, if it is damaged."""
    return config_from(read_json(path), path.name)


def config_from(data: Any, where: str) -> Config:
    """A configuration from JSON data, also of the version before; UserError, one line, if it is damaged."""
    return read_as(Config, upgraded(data), where)


def upgraded(data: Any) -> Any:
    """A configuration of an earlier version in today's form; anything else as it is."""
    return _with_initial_noise(_with_second_stage(_from_parts(data)))


def _with_initial_noise(data: Any) -> Any:
    """A configuration of before frames could begin as anything but standard normal noise."""
    if not isinstance(data, dict):
        return data
    samplers = {name: data[name] for name in ("sampler", "upsampler_sampler") if isinstance(data.get(name), dict)}
    return {**data, **{name: {"initial_noise": 1.0, **settings} for name, settings in samplers.items()}}


def _with_second_stage(data: Any) -> Any:
    """A configuration of before there was a second stage."""
    if not isinstance(data, dict) or "denoiser" not in data or SECOND_STAGE & data.keys():
        return data
    # Before there was a second stage, nothing was accumulated either.
    defaults = dataclasses.asdict(Config())
    new = {**data, **{name: defaults[name] for name in SECOND_STAGE}}
    if isinstance(denoiser := data["denoiser"], dict):
        new["denoiser"] = {**denoiser, "context_noise_levels": defaults["denoiser"]["context_noise_levels"]}
    for name in RECIPE_NETWORKS["diamond"]:
        if isinstance(settings := data.get(f"{name}_updates"), dict):
            new[f"{name}_updates"] = {**settings, "accumulate": 1}
    if data.get("init_networks") == list(RECIPE_NETWORKS["diamond"]):  # all there were
        new["init_networks"] = list(NETWORKS)
    return new


def _from_parts(data: Any) -> Any:
    """A configuration whose top level had `parts`, as the version after it wrote it; anything else as it is."""
    if not isinstance(data, dict) or "parts" not in data or "model_free" not in data:
        return data
    try:
        old = json.loads(json.dumps(data))
        fixed = bool(old.pop("data"))
        recipe = "model_free" if old.pop("model_free") else "world" if fixed else "diamond"
        networks = RECIPE_NETWORKS["diamond"]
        for name in networks:
            old[f"{name}_updates"] = _without(old[f"{name}_updates"], "first_learning_rate", "half_life", "accumulate")
        denoiser = _without(old["denoiser"], "multi_hot_actions", "noise_context", "upsampling_factor")
        window, epochs = old.pop("reward_end_window"), [old.pop("epochs_after_collection"), old.pop("epochs_on_data")]
        new = {
            **_without(
                old, "reward_end_drawn_share", "rewarded_share", "checkpoints_kept", "parts", "wandb", "trackio"
            ),
            "recipe": recipe,
            "data": data["data"],
            "networks": list(networks) if fixed else [],
            "init_networks": old["parts"],
            "epochs": epochs[fixed],
            "log_to": [name for name in ("wandb", "trackio") if old[name]],
            "collection": _without(old["collection"], "first_steps_max", "first_rewards"),
            "denoiser": {
                **denoiser,
                "autoregressive_steps": old["autoregressive_steps"],
                "final_frames": False,
            },
            "reward_end": {**old["reward_end"], "window": window},
            "returns": {
                **_without(old["returns"], "lambda_", "value_weight"),
                "lambda_return": old["returns"]["lambda_"],
            },
            "evaluation": _without(old["evaluation"], "random_episodes", "held_out_steps", "held_out_windows"),
        }
        return _without(new, "autoregressive_steps")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"config.json of the version before is damaged near {error}: restore it from a copy") from error


def _without(section: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in names}


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
