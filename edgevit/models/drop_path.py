"""Stochastic depth, a layer that the model families share."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training, drop the branch of a whole sample with `probability`."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, ...); the identity outside training."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        return x * (x.new_empty(x.shape[0], *(1,) * (x.dim() - 1)).bernoulli_(keep) / keep)
