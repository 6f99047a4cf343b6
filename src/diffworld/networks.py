"""The three networks of a run, built together from its configuration."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffworld.agent.actor_critic import ActorCritic
from diffworld.config import Config, Part
from diffworld.errors import UserError
from diffworld.nn.compiling import compile_forward
from diffworld.world_model.denoiser import Denoiser
from diffworld.world_model.reward_end import RewardEndModel


@dataclass(frozen=True)
class Networks:
    """Denoiser, reward/end model and actor-critic."""

    denoiser: Denoiser
    reward_end: RewardEndModel
    actor_critic: ActorCritic

    def items(self) -> Iterator[tuple[Part, nn.Module]]:
        """(name, network) of each."""
        yield "denoiser", self.denoiser
        yield "reward_end", self.reward_end
        yield "actor_critic", self.actor_critic

    def tensors(self) -> dict[str, Tensor]:
        """Every weight as 'part.name'."""
        return {f"{part}.{k}": v for part, module in self.items() for k, v in module.state_dict().items()}

    def load(self, tensors: dict[str, Tensor], parts: tuple[Part, ...]) -> None:
        """Take the weights of `parts` from `tensors`; UserError if names or shapes do not fit."""
        for part, module in self.items():
            if part in parts:
                own = {k[len(part) + 1 :]: v for k, v in tensors.items() if k.startswith(part + ".")}
                try:
                    module.load_state_dict(own)
                except RuntimeError as error:
                    reason = " ".join(str(error).split())[:160]
                    raise UserError(f"weights of the {part} do not fit this configuration: {reason}") from error

    def parameter_counts(self) -> dict[Part, int]:
        """Trainable parameters of each network (the fixed Fourier weights not counted)."""
        return {part: sum(p.numel() for p in module.parameters()) for part, module in self.items()}


def build_networks(config: Config, num_actions: int, device: torch.device) -> Networks:
    """Freshly initialised networks; convolutions in the memory format that the device computes fastest in."""
    size = (config.environment.height, config.environment.width)
    networks = Networks(
        Denoiser(config.denoiser, num_actions),
        RewardEndModel(config.reward_end, num_actions, size),
        ActorCritic(config.actor_critic, num_actions, size),
    )
    for _, module in networks.items():
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return networks


def compile_networks(networks: Networks, config: Config) -> None:
    """Compile what a run of `config` spends its time in, at the batch sizes it repeats; see `nn/compiling.py`."""
    dreams, steps = (
        config.actor_critic_updates.batch_size,
        config.reward_end_window + config.denoiser.context_frames - 1,
    )
    windows = config.reward_end_updates.batch_size * steps
    compile_forward("denoiser", networks.denoiser.network, {config.denoiser_updates.batch_size, dreams})
    compile_forward("reward/end encoder", networks.reward_end.encoder, {windows, dreams})
    compile_forward("actor-critic encoder", networks.actor_critic.stages, {dreams})
