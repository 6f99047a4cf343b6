"""The networks of a run, built together from its configuration and its game."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffworld.config import NETWORKS, OF_DATA, RECIPE_NETWORKS, Config, NetworkName, RecipeName
from diffworld.game import GameSpec
from diffworld.models.actor_critic import ActorCritic
from diffworld.models.denoiser import Conditioning, Denoiser
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.compiling import compile_forward
from diffworld.runtime.errors import UserError
from diffworld.world import FrameStack, Samplers, TwoStages


@dataclass(frozen=True)
class Networks:
    """Denoiser, upsampler, reward/end model and actor-critic, as far as a run has them."""

    denoiser: Denoiser | None = None
    upsampler: Denoiser | None = None
    reward_end: RewardEndModel | None = None
    actor_critic: ActorCritic | None = None

    def items(self) -> Iterator[tuple[NetworkName, nn.Module]]:
        """(name, network) of each that is there."""
        for name in NETWORKS:
            if (network := getattr(self, name)) is not None:
                yield name, network

    def tensors(self) -> dict[str, Tensor]:
        """Every weight as 'network.name'."""
        return {f"{name}.{k}": v for name, module in self.items() for k, v in module.state_dict().items()}

    def load(self, tensors: dict[str, Tensor], names: tuple[NetworkName, ...] = NETWORKS) -> None:
        """Take the weights of those networks from `tensors`; UserError if names or shapes do not fit.

        Networks on the device meta only look whether they do.
        """
        for name, module in self.items():
            if name in names:
                own = {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}
                expected = module.state_dict()
                shapes, wanted = ({k: tuple(v.shape) for k, v in found.items()} for found in (own, expected))
                for key in sorted(shapes.keys() | wanted.keys()):
                    if (there := shapes.get(key, "nothing")) != (fits := wanted.get(key, "nothing")):
                        raise UserError(
                            f"weights of the {name} do not fit this configuration: {key} is {there}, not {fits}"
                        )
                if not any(tensor.is_meta for tensor in expected.values()):
                    module.load_state_dict(own)

    def parameter_counts(self) -> dict[NetworkName, int]:
        """Trainable parameters of each network (the fixed Fourier weights not counted)."""
        return {name: sum(p.numel() for p in module.parameters()) for name, module in self.items()}


def network_names(recipe: RecipeName, named: tuple[NetworkName, ...], spec: GameSpec) -> tuple[NetworkName, ...]:
    """The networks that a recipe trains on a game where those are `named`; UserError if it has no use for them."""
    able = RECIPE_NETWORKS[recipe]
    if recipe not in OF_DATA:
        if named:
            raise UserError(f"recipe {recipe} knows what it trains: leave out --networks, which is for --data")
        return able
    judged = spec.rewards or spec.ends
    drawn = tuple(name for name in able if name in ("denoiser", "upsampler"))
    names = named or ((*drawn, "reward_end") if judged and recipe == "world" else drawn)
    if other := [name for name in names if name not in able]:
        raise UserError(f"recipe {recipe} trains no {other[0]}: leave it out of --networks")
    if missing := [name for name in drawn if name not in names]:
        raise UserError(f"a world model of recipe {recipe} needs its {missing[0]}: name it in --networks")
    if not judged and len(names) > len(drawn):
        raise UserError(
            f"the data know neither rewards nor ends: only --networks {','.join(drawn)} can learn from them"
        )
    if "actor_critic" in names and "reward_end" not in names:
        raise UserError("an agent learns in dreams that pay and end: name denoiser, reward_end and actor_critic")
    return tuple(name for name in able if name in names)


def small_size(spec: GameSpec, factor: int) -> tuple[int, int]:
    """(H, W) of frames `factor` times smaller than a game's; UserError where they cannot be made that much smaller."""
    height, width = spec.frame_size
    if height % factor or width % factor:
        fits = max(each for each in range(1, factor) if height % each == width % each == 0)
        raise UserError(
            f"frames of {height}x{width} cannot be made {factor} times smaller: let --upsampler.factor divide both"
            f"{f', such as {fits}' if fits > 1 else ''}"
        )
    return height // factor, width // factor


def build_networks(
    config: Config, spec: GameSpec, device: torch.device, names: tuple[NetworkName, ...] | None = None
) -> Networks:
    """Freshly initialised networks, those of the recipe or the ones named.

    Convolutions are in the memory format that the device computes fastest in.
    """
    names = network_names(config.recipe, config.networks, spec) if names is None else names
    size, actions = small_size(spec, config.factor), spec.actions
    of_denoiser = Conditioning(noise_context=config.recipe == "shooter")
    of_upsampler = Conditioning(upsampling_factor=config.upsampler.factor)
    networks = Networks(
        Denoiser(config.denoiser, actions, of_denoiser) if "denoiser" in names else None,
        Denoiser(config.upsampler, None, of_upsampler) if "upsampler" in names else None,
        RewardEndModel(config.reward_end, actions, size) if "reward_end" in names else None,
        ActorCritic(config.actor_critic, actions, size) if "actor_critic" in names else None,
    )
    for _, module in networks.items():
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return networks


def build_world(
    networks: Networks, samplers: Samplers, dtype: torch.dtype = torch.float32
) -> FrameStack | TwoStages | None:
    """The world model that networks make up: in two stages with an upsampler, none without a denoiser.

    `samplers` are those of the denoiser and of the upsampler.
    """
    if networks.denoiser is None:
        return None
    stack = FrameStack(networks.denoiser, networks.reward_end, samplers[0], dtype)
    return stack if networks.upsampler is None else TwoStages(stack, networks.upsampler, samplers[1])


def require_layers(depths: Iterable[Sequence[int]], tensors: int) -> None:
    """UserError if networks of these depths have more layers than there are tensors: that many cannot be counted."""
    layers = sum(map(sum, depths))
    if layers > tensors:
        raise UserError(f"the configuration has {layers:,} layers and the weights only {tensors} tensors: give its own")


def compile_networks(networks: Networks, batches: Mapping[NetworkName, int], horizon: int) -> None:
    """Compile what a run spends its time in, at the batch sizes it repeats; see `runtime/compiling.py`."""
    dreams = {batches["actor_critic"]} if "actor_critic" in batches else set()
    if (denoiser := networks.denoiser) is not None:
        compile_forward("denoiser's learning", denoiser, {batches["denoiser"]})
        if dreams:
            compile_forward("denoiser", denoiser.network, dreams)
        if networks.upsampler is not None:
            compile_forward("upsampler's learning", networks.upsampler, {batches["upsampler"]})
        if (model := networks.reward_end) is not None:
            windows = batches["reward_end"] * (model.config.window + denoiser.config.context_frames - 1)
            compile_forward("reward/end encoder", model.encoder, {windows, *dreams})
    if networks.actor_critic is not None:
        compile_forward(
            "actor-critic encoder", networks.actor_critic.stages, {n * rows for rows in dreams for n in (1, horizon)}
        )
