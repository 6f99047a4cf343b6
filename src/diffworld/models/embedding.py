"""Actions as vectors that networks are conditioned on."""

import torch.nn.functional as F
from torch import Tensor, nn

from diffworld.game import ActionSpace


class ActionEmbedding(nn.Embedding):
    """A learnt vector for each number of an encoded action; those of an action of several parts are added up."""

    def __init__(self, actions: ActionSpace, channels: int) -> None:
        super().__init__(actions.size, channels)
        self.is_discrete = actions.is_discrete

    def forward(self, actions: Tensor) -> Tensor:
        """Vectors (..., channels) of actions (...) int64, or (..., A) of 0 and 1."""
        return F.embedding(actions, self.weight) if self.is_discrete else actions.to(self.weight.dtype) @ self.weight
