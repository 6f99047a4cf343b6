"""Policies over an `ActionSpace`: logits (..., A) as a distribution over encoded actions.

A choice is a softmax over its logits; a key is down with the sigmoid of its logit, unless a key that excludes it is
down already. One choice alone has actions (...) int64, all else (..., A) uint8.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from diffworld.game import ActionSpace, Choice, Keys
from diffworld.world import draw_index


def draw_actions(
    space: ActionSpace, logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Actions for logits (B, A); below temperature 1 likelier ones more often, 0 takes the likeliest."""
    scaled = logits if temperature == 0 else logits / temperature
    if space.is_discrete:
        return _draw_choice(scaled, temperature, generator)
    pieces = []
    for part, piece in _pieces(space, scaled):
        if isinstance(part, Choice):
            values = torch.arange(part.size, device=piece.device)  # one_hot would look at what is drawn
            drawn = (_draw_choice(piece, temperature, generator)[..., None] == values).long()
        elif temperature == 0:
            drawn = (piece > 0).long()
        else:
            drawn = torch.bernoulli(piece.sigmoid(), generator=generator).long()
        pieces.append(drawn * _allowed(part, drawn) if isinstance(part, Keys) else drawn)
    return torch.cat(pieces, dim=-1).to(torch.uint8)


def random_actions(space: ActionSpace, rows: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Actions drawn uniformly."""
    if space.is_discrete:
        return torch.randint(space.size, (rows,), generator=generator, device=device)
    return draw_actions(space, torch.zeros(rows, space.size, device=device), generator=generator)


def log_prob(space: ActionSpace, logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probability (...) of actions."""
    if space.is_discrete:
        return logits.log_softmax(-1).gather(-1, actions[..., None]).squeeze(-1)
    total = logits.new_zeros(logits.shape[:-1])
    for (part, piece), (_, taken) in zip(_pieces(space, logits), _pieces(space, actions), strict=True):
        if isinstance(part, Choice):
            total = total + (piece.log_softmax(-1) * taken).sum(-1)
        else:
            each = -F.binary_cross_entropy_with_logits(piece, taken.to(piece.dtype), reduction="none")
            total = total + (each * _allowed(part, taken)).sum(-1)
    return total


def entropy(space: ActionSpace, logits: Tensor) -> Tensor:
    """Entropy (...) in nats; of keys that exclude each other, the entropy they would have without that rule."""
    total = logits.new_zeros(logits.shape[:-1])
    for part, piece in _pieces(space, logits):
        if isinstance(part, Choice):
            log_probs = piece.log_softmax(-1)
            total = total - (log_probs.exp() * log_probs).sum(-1)
        else:
            down = piece.sigmoid()
            total = total - (down * F.logsigmoid(piece) + (1 - down) * F.logsigmoid(-piece)).sum(-1)
    return total


def probabilities(space: ActionSpace, logits: Tensor) -> Tensor:
    """Probability (..., A) of each value of a choice, and of each key's being down."""
    pieces = [
        piece.softmax(-1) if isinstance(part, Choice) else piece.sigmoid() for part, piece in _pieces(space, logits)
    ]
    return torch.cat(pieces, dim=-1)


def _pieces(space: ActionSpace, numbers: Tensor) -> Iterator[tuple[Choice | Keys, Tensor]]:
    sizes = [part.size for part in space.parts]
    yield from zip(space.parts, numbers.split(sizes, dim=-1), strict=True)


def _draw_choice(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return draw_index(logits.softmax(-1), generator)


def _allowed(part: Keys, down: Tensor) -> Tensor:
    """1 for each key (..., K) that no earlier key excludes among those drawn (before or after the rule), else 0."""
    allowed = torch.ones_like(down)
    for first, second in part.conflicts:
        allowed[..., second] &= ~(down[..., first] * allowed[..., first]).bool()
    return allowed
