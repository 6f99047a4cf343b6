"""The shooter's two networks: a low-resolution denoiser, and the upsampler that draws the full frame from it.

Both are the `Denoiser` of `denoiser.py` with other conditioning, so all there is here is their settings.
"""

from diffworld.world_model.denoiser import DenoiserConfig
from diffworld.world_model.diffusion import NoiseLevels

SHOOTER_NOISE = NoiseLevels(mean=-1.2)
NUM_KEYS = 51
"""Length of the shooter's multi-hot action."""


def shooter_denoiser_config() -> DenoiserConfig:
    """The published low-resolution denoiser: multi-hot actions, noised context, 330,489,219 parameters."""
    return DenoiserConfig(
        cond_channels=2048,
        channels=(128, 256, 512, 1024),
        attention=(False, False, True, True),
        sigma_offset=0.1,
        noise_levels=SHOOTER_NOISE,
        multi_hot_actions=True,
        noise_context=True,
    )


def upsampler_config() -> DenoiserConfig:
    """The published upsampler: the previous full frame and the enlarged small one, 51,149,187 parameters."""
    return DenoiserConfig(
        context_frames=1,
        cond_channels=2048,
        channels=(64, 64, 128, 256),
        attention=(False, False, False, True),
        sigma_offset=0.1,
        noise_levels=SHOOTER_NOISE,
        upsampling_factor=5,
    )
