"""Tensor names of the published checkpoints, mapped to ours and back."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from diffworld.models.actor_critic import ActorCritic
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.errors import UserError

# (ours, published), tried in order on whole path segments; each pair is a one-to-one rename inside its network.
_DENOISER = [
    ("network.fourier", "inner_model.noise_emb"),
    ("network.context_fourier", "inner_model.noise_cond_emb"),
    ("network.action_embedding", "inner_model.act_emb.0"),
    ("network.condition_mlp", "inner_model.cond_proj"),
    ("network.norm_out", "inner_model.norm_out.norm"),
    ("network.unet.down", "inner_model.unet.d_blocks"),
    ("network.unet.up", "inner_model.unet.u_blocks"),
    ("network.unet.middle", "inner_model.unet.mid_blocks"),
    ("network", "inner_model"),
]
_REWARD_END = [
    ("encoder.levels", "encoder.blocks"),
    ("action_embedding", "act_emb"),
]
_BLOCK = [
    (r"blocks\.(\d+)\.skip", r"resblocks.\1.proj"),
    (r"blocks\.(\d+)\.attention\.norm", r"resblocks.\1.attn.norm.norm"),
    (r"blocks\.(\d+)\.attention\.qkv", r"resblocks.\1.attn.qkv_proj"),
    (r"blocks\.(\d+)\.attention\.out", r"resblocks.\1.attn.out_proj"),
    (r"(?<!d_)(?<!u_)(?<!mid_)blocks\.(\d+)(?=\.(norm|conv)\d)", r"resblocks.\1"),
]


def published_name(part: str, name: str, reward_end_levels: int = 0, pools: tuple[bool, ...] = ()) -> str:
    """Published name of our tensor `name` of `part` ('denoiser', 'upsampler', 'reward_end', 'actor_critic')."""
    if part == "actor_critic":
        return "actor_critic." + _actor_critic_name(name, pools)
    if part == "reward_end":
        name = name.replace("encoder.middle", f"encoder.levels.{reward_end_levels}")
    for ours, theirs in _REWARD_END if part == "reward_end" else _DENOISER:
        if name.startswith(ours + "."):
            name = theirs + name[len(ours) :]
            break
    for pattern, replacement in _BLOCK:
        name = re.sub(pattern, replacement, name)
    name = re.sub(r"downsamples\.(\d+)\.", r"downsamples.\1.conv.", name)
    return {"reward_end": "rew_end_model"}.get(part, part) + "." + name


def _actor_critic_name(name: str, pools: tuple[bool, ...]) -> str:
    """The published encoder is one flat sequence: convolution, then a stage and perhaps a pooling, repeated."""
    name = name.replace("policy_head", "actor_linear").replace("value_head", "critic_linear")
    name = name.replace("conv_in.", "encoder.encoder.0.")
    match = re.match(r"stages\.(\d+)\.(\w+)\.(.*)", name)
    if match is None:
        return name
    stage, layer, rest = int(match[1]), match[2], match[3]
    place = 1 + stage + sum(pools[:stage])
    layer = {"norm": "f.0.norm", "conv": "f.2", "skip": "skip_projection"}[layer]
    return f"encoder.encoder.{place}.{layer}.{rest}"


def name_map(parts: Mapping[str, nn.Module]) -> dict[str, tuple[str, str]]:
    """Published name -> (part, our name) of every tensor of the networks; one to one."""
    names: dict[str, tuple[str, str]] = {}
    for part, module in parts.items():
        levels = len(module.config.channels) if isinstance(module, RewardEndModel) else 0
        pools = module.config.pool if isinstance(module, ActorCritic) else ()
        for name in module.state_dict():
            names[published_name(part, name, levels, pools)] = (part, name)
    return names


def load_published(parts: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copy a flat published state dict into the networks; every name and shape must fit, or UserError."""
    names = name_map(parts)
    missing, unknown = sorted(names.keys() - tensors.keys()), sorted(tensors.keys() - names.keys())
    if missing or unknown:
        raise UserError(
            f"weights do not fit the networks: {len(missing)} tensors missing (first: {missing[:1]}), "
            f"{len(unknown)} unknown (first: {unknown[:1]}); check the configuration"
        )
    states = {part: module.state_dict() for part, module in parts.items()}
    for published, (part, ours) in names.items():
        target, value = states[part][ours], tensors[published]
        if target.shape != value.shape:
            raise UserError(
                f"tensor {published} has shape {tuple(value.shape)} instead of {tuple(target.shape)}; "
                "check the configuration (number of actions, channels, frame size)"
            )
        target.copy_(value)


def to_published(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The networks' tensors under their published names."""
    states = {part: module.state_dict() for part, module in parts.items()}
    return {published: states[part][ours] for published, (part, ours) in name_map(parts).items()}
