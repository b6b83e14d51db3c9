"""Muon: momentum whose update is replaced by its nearest orthogonal matrix.

After K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Written
anew for convolution weights, which count as matrices (out_channels, rest).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn
from workers import Worker


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """Push the singular values of a float (M, N) matrix towards 1 by a Newton-Schulz iteration."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum with decoupled weight decay.

    Args:
        parameters: weights of two or more dimensions.
        lr: size of a step; the update has singular values near 1, times `sqrt(M / N)` when the
            matrix is taller than wide.
        momentum: decay of the running gradient.
        weight_decay: share of the weights removed by a step, per unit of `lr`.
        steps: Newton-Schulz iterations.
        worker: which process of the run this is; each orthogonalises a part of the matrices.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        steps: int = 3,
        worker: Worker,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(parameters, defaults)
        self.worker = worker

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            updates = [self._update(index, weight, group) for index, weight in enumerate(weights)]
            for weight, update in zip(weights, self.worker.totals(updates), strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"])

    def _update(self, index: int, weight: Tensor, group: dict[str, float]) -> Tensor:
        """The step of one weight per unit of `lr`; zeros where another worker computes it."""
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        running = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
        if index % self.worker.count != self.worker.rank:
            return torch.zeros_like(weight)
        matrix = weight.grad.lerp(running, group["momentum"]).flatten(1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        return (orthogonalised(matrix, int(group["steps"])) * scale).reshape(weight.shape)


def split_parameters(
    model: nn.Module, last: Collection[nn.Module] = ()
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for (Muon, AdamW).

    Muon gets the dense convolutions between hidden layers; the first convolution, the depthwise
    ones, gates with one output, the heads, norms and biases stay with AdamW. So do the layers in
    `last`, for heads that are convolutions.
    """
    dense = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.in_channels > 3
        and module.out_channels > 1
        and module not in last
    ]
    chosen = set(map(id, dense))
    return dense, [weight for weight in model.parameters() if id(weight) not in chosen]
