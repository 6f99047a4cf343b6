"""Sizes of published networks, from their configuration or, without one, from the shapes of their tensors.

A configuration comes in two forms: `atari_config.json` or `csgo_config.json` of a golden folder, and the agent's
YAML beside the published weights, which nests and names some settings differently.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count, pairwise, takewhile
from typing import Any

from torch import Tensor, nn

from diffworld.game import ActionSpace, Keys, numbered
from diffworld.models.actor_critic import ActorCritic, ActorCriticConfig
from diffworld.models.denoiser import Conditioning, Denoiser, DenoiserConfig
from diffworld.models.diffusion import SIGMA_DATA
from diffworld.models.reward_end import RewardEndConfig, RewardEndModel
from diffworld.runtime.errors import UserError, one_line

LARGEST_SIDE = 512  # of the square frames that shapes are compared with


@dataclass(frozen=True)
class Sizes:
    """What decides the shapes of an Atari agent's three networks, but the number of actions."""

    denoiser: DenoiserConfig
    reward_end: RewardEndConfig
    actor_critic: ActorCriticConfig
    frame_size: tuple[int, int]


def denoiser_config(c: Mapping[str, Any]) -> DenoiserConfig:
    """Our settings of a published denoiser or upsampler."""
    if c.get("sigma_data", SIGMA_DATA) != SIGMA_DATA:
        raise UserError(f"sigma_data is {c['sigma_data']}; only {SIGMA_DATA} is supported")
    return DenoiserConfig(
        context_frames=c["num_steps_conditioning"],
        sigma_offset=float(c["sigma_offset_noise"]),
        final_frames=False,
        **_levels_config(c),
    )


def reward_end_config(c: Mapping[str, Any]) -> RewardEndConfig:
    """Our settings of a published reward/end model."""
    return RewardEndConfig(lstm_channels=c["lstm_dim"], **_levels_config(c))


def _levels_config(c: Mapping[str, Any]) -> dict[str, Any]:
    lists = {"channels": tuple(c["channels"]), "depths": tuple(c["depths"])}
    return {"cond_channels": c["cond_channels"], **lists, "attention": tuple(map(bool, c["attn_depths"]))}


def actor_critic_config(c: Mapping[str, Any]) -> ActorCriticConfig:
    """Our settings of a published actor-critic."""
    return ActorCriticConfig(
        lstm_channels=c["lstm_dim"], channels=tuple(c["channels"]), pool=tuple(map(bool, c["down"]))
    )


def build_parts(config: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks an `atari_config.json` or `csgo_config.json` describes, by name."""
    count, size = config["num_actions"], tuple(config.get("image_size", ()))
    # The shooter's actions are zeros and ones: keys, buttons, and the mouse in bins.
    multi_hot = "full_res" in config
    actions = ActionSpace((Keys(numbered(count)),)) if multi_hot else ActionSpace.discrete(count)

    def denoiser(c: Mapping[str, Any]) -> nn.Module:
        conditioning = Conditioning(bool(c.get("noise_previous_obs")), c.get("upsampling_factor") or 1)
        return Denoiser(denoiser_config(c), actions, conditioning)

    build: dict[str, Callable[[Any], nn.Module]] = {
        "denoiser": denoiser,
        "upsampler": denoiser,
        "reward_end": lambda c: RewardEndModel(reward_end_config(c), actions, size),
        "actor_critic": lambda c: ActorCritic(actor_critic_config(c), actions, size),
    }
    return {part: make(config[part]) for part, make in build.items() if part in config}


def sizes_from_config(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Sizes:
    """Sizes as a configuration of either form gives them; UserError if it is none.

    The frame size may be missing there, or be a reference to another file: then the tensors tell it.
    """
    try:
        denoiser = config["denoiser"]
        reward_end = config["reward_end"] if "reward_end" in config else config["rew_end_model"]
        size = config.get("image_size", reward_end.get("img_size"))
        if isinstance(size, int):
            size = (size, size)
        elif not isinstance(size, list):
            size = sizes_from_tensors(tensors).frame_size
        height, width = size
        return Sizes(
            denoiser_config({**denoiser, **denoiser.get("inner_model", {})}),
            reward_end_config(reward_end),
            actor_critic_config(config["actor_critic"]),
            (height, width),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = one_line(f"{type(error).__name__} {error}")
        raise UserError(f"this is no published configuration of an Atari agent: {reason}") from error


def sizes_from_tensors(tensors: Mapping[str, Tensor]) -> Sizes:
    """Sizes that follow from the tensors' names and shapes; UserError if they do not.

    What leaves no trace in the shapes is taken to be as published for Atari: square frames, offset noise of 0.3.
    """
    inner, model = "denoiser.inner_model", "rew_end_model"
    denoiser = DenoiserConfig(
        context_frames=tensor_size(tensors, f"{inner}.conv_in.weight", 1) // 3 - 1,
        cond_channels=tensor_size(tensors, f"{inner}.cond_proj.0.weight"),
        final_frames=False,
        **levels_of(tensors, f"{inner}.unet.d_blocks"),
    )
    levels = levels_of(tensors, f"{model}.encoder.blocks")
    reward_end = RewardEndConfig(
        lstm_channels=tensor_size(tensors, f"{model}.lstm.weight_hh_l0", 1),
        cond_channels=tensor_size(tensors, f"{model}.act_emb.weight", 1),
        **{name: values[:-1] for name, values in levels.items()},  # the last entry is the middle
    )
    found = (re.fullmatch(r"actor_critic\.encoder\.encoder\.(\d+)\.f\.2\.weight", name) for name in tensors)
    places = sorted(int(match[1]) for match in found if match)
    pools = tuple(b - a == 2 for a, b in pairwise(places))  # a pooling between two stages takes a place
    stages = tuple(tensor_size(tensors, f"actor_critic.encoder.encoder.{place}.f.2.weight") for place in places)
    if not reward_end.channels or not stages:
        raise UserError("these are not the weights of an Atari agent: tensors of its encoders are missing")
    side, last_pool = _frame_side(
        reward_features=tensor_size(tensors, f"{model}.lstm.weight_ih_l0", 1) / reward_end.channels[-1],
        halvings=len(reward_end.channels) - 1,
        actor_features=tensor_size(tensors, "actor_critic.lstm.weight_ih", 1) / stages[-1],
        pools=sum(pools),
    )
    lstm_channels = tensor_size(tensors, "actor_critic.lstm.weight_hh", 1)
    actor_critic = ActorCriticConfig(lstm_channels, stages, (*pools, last_pool))
    return Sizes(denoiser, reward_end, actor_critic, (side, side))


def tensor_size(tensors: Mapping[str, Tensor], name: str, axis: int = 0) -> int:
    """Size of one axis of the tensor with that published name; UserError if there is none."""
    if name not in tensors or tensors[name].ndim <= axis:
        raise UserError(
            f"these are not the weights of an Atari agent, or of the shooter: {name} is missing or of another shape"
        )
    return tensors[name].shape[axis]


def levels_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Channels, depths and attention of the levels under `prefix`."""

    def there(names: str) -> int:
        return sum(1 for _ in takewhile(lambda i: names.format(i) in tensors, count()))

    levels = [f"{prefix}.{i}.resblocks" for i in range(there(prefix + ".{}.resblocks.0.conv1.weight"))]
    return {
        "channels": tuple(tensor_size(tensors, f"{level}.0.conv1.weight") for level in levels),
        "depths": tuple(there(level + ".{}.conv1.weight") for level in levels),
        "attention": tuple(f"{level}.0.attn.qkv_proj.weight" in tensors for level in levels),
    }


def _frame_side(reward_features: float, halvings: int, actor_features: float, pools: int) -> tuple[int, bool]:
    """Side of the square frames that give so many features a channel, and whether a last pooling follows.

    The reward/end encoder halves `halvings` times and rounds up; the actor-critic pools `pools` times, perhaps
    once more at its end, and rounds down.
    """
    fitting = [
        (side, last)
        for side in range(1, LARGEST_SIDE + 1)
        for last in (True, False)
        if math.ceil(side / 2**halvings) ** 2 == reward_features
        and (side // 2 ** (pools + last)) ** 2 == actor_features
    ]
    if len(fitting) != 1:
        sides = ", ".join(str(side) for side, _ in fitting[:4])
        said = f"could be {sides}{' ...' if len(fitting) > 4 else ''} pixels high" if fitting else "fit no square frame"
        raise UserError(f"the weights do not tell the size of the frames: they {said}; give it with --config")
    return fitting[0]
