"""A world model in two stages of a fixed data set, as DIAMOND's first-person shooter: small frames, then large ones.

The data hold large frames; each batch makes its own small ones of them, so both stages learn from the same places.

1. The denoiser draws the next small frame from the last n and their actions. Its context is noised, in training by a
   random amount, and it learns on from its own frames for k steps: so a dream stands its own mistakes.
2. The upsampler draws the large frame from the true small one and the large frame before, its own in the second step.
3. A reward/end model, if it is asked for, judges small frames.

Some episodes are set aside to measure on (`held_out_episodes`). There is no agent: people play.
"""

from collections.abc import Sequence
from typing import Any

from diffworld.config import Config
from diffworld.data import held_out_episodes
from diffworld.recipes.learning import WindowSource, denoiser_part, reward_end_part
from diffworld.recipes.networks import build_networks
from diffworld.recipes.recipe import TEST, Materials, Recipe
from diffworld.world import FrameStack, TwoStages


class Shooter(Recipe):
    """Denoiser of small frames and upsampler, each with its own batches."""

    def __init__(self, config: Config, given: Materials) -> None:
        assert given.dataset is not None
        self.given, self.dataset, self.final_epochs = given, given.dataset, config.epochs
        self.networks = networks = build_networks(config, given.spec, given.device)
        assert networks.denoiser and networks.upsampler
        low = FrameStack(networks.denoiser, networks.reward_end, config.sampler)
        self.world = TwoStages(low, networks.upsampler, config.upsampler_sampler)
        self.held_out = held_out_episodes(given.dataset.episodes)

        window, lessons = config.reward_end.window, self.world.lessons
        source = WindowSource(
            self.world.context_frames, window, given.dataset, given, recency=False, among=~self.held_out
        )
        self.parts = {
            "denoiser": denoiser_part(config.denoiser_updates, lessons["denoiser"], source),
            "upsampler": denoiser_part(config.upsampler_updates, lessons["upsampler"], source),
        }
        if networks.reward_end is not None:
            self.parts["reward_end"] = reward_end_part(
                config.reward_end_updates, networks.reward_end, source, self.world.seen
            )
        self.phases = (*self.parts, TEST)

    @property
    def env_steps(self) -> int:
        assert self.held_out is not None
        return int(self.dataset.episodes.lengths[~self.held_out].sum())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing lasts from one update to the next but weights."""

    def regroup(self, states: Sequence[dict[str, Any]]) -> None:
        """Nor from one number of ranks to another."""
