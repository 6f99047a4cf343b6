"""Our networks' tensors as the published code names them."""

from collections.abc import Mapping

from torch import Tensor, nn

from diffworld.compat.names import name_map


def to_published(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The networks' tensors under their published names."""
    states = {part: module.state_dict() for part, module in parts.items()}
    return {published: states[part][ours] for published, (part, ours) in name_map(parts).items()}
