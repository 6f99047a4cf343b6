"""A world model without diffusion: python -m research.regression [options of diffworld train]

The same network, data, updates and agent, but the next frame is what the network says when it is shown nothing in place
of a noisy frame: the mean of all that may follow, learnt by squared error. (The limit of the denoiser's preconditioning
for endless noise.) A frame takes one pass, so give one denoising step. Stop it, and the same command goes on, as with
`diffworld train`; the run's weights draw what was learnt here alone, whatever `diffworld` commands make of them.
"""

import sys

from torch import Tensor

from diffworld.cli import main
from diffworld.models.denoiser import Context, Denoiser
from diffworld.models.diffusion import SIGMA_DATA, Preconditioning
from diffworld.recipes import networks


class Regressor(Denoiser):
    """D(context): nothing of a noisy frame comes in or through."""

    def network_output(
        self, noisy: Tensor, sigma: Tensor, context: Context, modulated: list[Tensor] | None = None
    ) -> tuple[Tensor, Preconditioning]:
        none = sigma.new_zeros(len(sigma))
        as_drawn = self.network.modulate(none, context.condition)
        output = self.network(noisy.new_zeros(noisy.shape), context.features, as_drawn).float()
        return output, Preconditioning(c_in=none, c_skip=none, c_out=none + SIGMA_DATA, c_noise=none)


if __name__ == "__main__":
    networks.Denoiser = Regressor  # type: ignore[misc]
    sys.exit(main(["train", *sys.argv[1:]]))
