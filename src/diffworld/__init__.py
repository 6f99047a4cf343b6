"""diffworld: reinforcement learning inside a diffusion world model."""

__version__ = "0.1.0"
