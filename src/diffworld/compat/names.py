"""Tensor names of the published checkpoints, mapped to ours and back."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from diffworld.models.actor_critic import ActorCritic
from diffworld.models.reward_end import RewardEndModel
from diffworld.runtime.errors import UserError

# (ours, published) by network, as patterns replaced one after the other: a one-to-one rename inside each.
_BLOCK = [
    (r"blocks\.(\d+)\.skip", r"resblocks.\1.proj"),
    (r"blocks\.(\d+)\.attention\.norm", r"resblocks.\1.attn.norm.norm"),
    (r"blocks\.(\d+)\.attention\.qkv", r"resblocks.\1.attn.qkv_proj"),
    (r"blocks\.(\d+)\.attention\.out", r"resblocks.\1.attn.out_proj"),
    (r"(?<!d_)(?<!u_)(?<!mid_)blocks\.(\d+)(?=\.(norm|conv)\d)", r"resblocks.\1"),
    (r"downsamples\.(\d+)\.", r"downsamples.\1.conv."),
]
_DENOISER = [
    (r"^network\.", "inner_model."),
    (r"\.fourier\.", ".noise_emb."),
    (r"\.context_fourier\.", ".noise_cond_emb."),
    (r"\.action_embedding\.", ".act_emb.0."),
    (r"\.condition_mlp\.", ".cond_proj."),
    (r"\.norm_out\.", ".norm_out.norm."),
    (r"\.unet\.down\.", ".unet.d_blocks."),
    (r"\.unet\.up\.", ".unet.u_blocks."),
    (r"\.unet\.middle\.", ".unet.mid_blocks."),
    *_BLOCK,
]
_RENAMES = {
    "denoiser": _DENOISER,
    "upsampler": _DENOISER,
    "reward_end": [(r"^encoder\.levels\.", "encoder.blocks."), (r"^action_embedding\.", "act_emb."), *_BLOCK],
    "actor_critic": [
        ("policy_head", "actor_linear"),
        ("value_head", "critic_linear"),
        (r"^conv_in\.", "encoder.encoder.0."),
        (r"(encoder\.\d+)\.norm\.", r"\1.f.0.norm."),
        (r"(encoder\.\d+)\.conv\.", r"\1.f.2."),
        (r"(encoder\.\d+)\.skip\.", r"\1.skip_projection."),
    ],
}


def published_name(part: str, name: str, reward_end_levels: int = 0, pools: tuple[bool, ...] = ()) -> str:
    """Published name of our tensor `name` of `part` ('denoiser', 'upsampler', 'reward_end', 'actor_critic')."""
    if part == "actor_critic":
        # The published encoder is one flat sequence: convolution, then a stage and perhaps a pooling, repeated.
        places = {str(stage): str(1 + stage + sum(pools[:stage])) for stage in range(len(pools))}
        name = re.sub(r"^stages\.(\d+)", lambda stage: f"encoder.encoder.{places[stage[1]]}", name)
    elif part == "reward_end":
        name = name.replace("encoder.middle", f"encoder.levels.{reward_end_levels}")
    for pattern, replacement in _RENAMES[part]:
        name = re.sub(pattern, replacement, name)
    return {"reward_end": "rew_end_model"}.get(part, part) + "." + name


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
