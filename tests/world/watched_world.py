"""A world model of random weights that can be made sure of what it says, and windows to start it from."""

import torch
from torch import Tensor

from diffworld.game import ActionSpace, Choice, Keys
from diffworld.models.denoiser import Denoiser, DenoiserConfig
from diffworld.models.diffusion import Randn
from diffworld.models.reward_end import RewardEndConfig, RewardEndModel
from diffworld.models.sampler import SamplerConfig
from diffworld.world import FrameStack

N, ACTIONS, SIZE = 3, 4, (4, 6)
NO, YES = 0, 1
CHOICE = ActionSpace.discrete(ACTIONS)
VECTOR = ActionSpace((Keys(("w", "s"), (("w", "s"),)), Choice("mouse", ("-1", "0", "1"))))


class Watched(Denoiser):
    """A denoiser that keeps the frames and actions each of its samples was drawn from."""

    def __init__(self, context_frames: int = N, space: ActionSpace = CHOICE) -> None:
        config = DenoiserConfig(context_frames, 12, (4,), (1,), (False,))
        super().__init__(config, space)
        self.asked: list[tuple[Tensor, Tensor | None]] = []
        with torch.no_grad():  # a fresh network ignores its context
            for parameter in self.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)

    def sample(
        self,
        frames: Tensor,
        actions: Tensor | None,
        config: SamplerConfig,
        randn: Randn,
        *,
        low_res: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        self.asked.append((frames, actions))
        return super().sample(frames, actions, config, randn, low_res=low_res)


class Starts:
    """Windows of the right shape, all different, kept in the order drawn."""

    def __init__(self, context_frames: int = N, space: ActionSpace = CHOICE) -> None:
        self.length, self.space, self.drawn = context_frames, space, list[tuple[Tensor, Tensor]]()

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        frames = torch.rand(count, self.length, 3, *SIZE) * 2 - 1
        self.drawn.append((frames, actions_of(self.space, count, self.length)))
        return self.drawn[-1]


def actions_of(space: ActionSpace, *shape: int) -> Tensor:
    """Actions (*shape,) or (*shape, A), drawn with torch's generator."""
    if space.is_discrete:
        return torch.randint(space.size, shape)
    choices = torch.nn.functional.one_hot(torch.randint(3, shape), 3)
    keys = torch.nn.functional.one_hot(torch.randint(3, shape), 3)[..., :2]
    return torch.cat([keys, choices], dim=-1).to(torch.uint8)


def reward_end_model(reward: int | None = None, end: int | None = None, space: ActionSpace = CHOICE) -> RewardEndModel:
    """A model with random weights, but certain of the class `reward` (0, 1, 2 for signs -1, 0, 1) or `end`."""
    model = RewardEndModel(RewardEndConfig(8, 6, (4, 8), (1, 1), (False, False)), space, SIZE)
    with torch.no_grad():
        if reward is not None or end is not None:
            model.head[0].weight.zero_()
            model.head[0].bias.fill_(1)  # type: ignore[union-attr]
        if reward is not None:
            model.head[2].weight[:3] = torch.where(torch.arange(3) == reward, 20.0, -20.0)[:, None]
        if end is not None:
            model.head[2].weight[3:] = torch.where(torch.arange(2) == end, 20.0, -20.0)[:, None]
    return model


def world_of(space: ActionSpace = CHOICE, judged: bool = True, **sampler: float) -> FrameStack:
    """A world model, with or without a reward/end model."""
    settings = SamplerConfig(**{"denoising_steps": 2, **sampler})  # type: ignore[arg-type]
    return FrameStack(Watched(space=space), reward_end_model(space=space) if judged else None, settings)
