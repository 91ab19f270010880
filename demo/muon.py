"""Muon: momentum whose matrix is made orthogonal before it is applied.

Jordan et al., 2024, https://kellerjordan.github.io/posts/muon.

Matrices of one shape are stacked, so that a step costs few large products instead of many small ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(stack: Tensor, iterations: int = 5) -> Tensor:
    """Newton-Schulz: matrices (count, rows, columns), rows <= columns, to the nearest orthogonal ones, roughly."""
    first, second, third = COEFFICIENTS
    matrix = stack.bfloat16()
    matrix = matrix / (matrix.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = matrix @ matrix.mT
        matrix = first * matrix + (second * gram + third * gram @ gram) @ matrix
    return matrix.float()


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        super().__init__(parameters, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                average = state.setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(average, group["momentum"])
                wide = update if update.shape[0] <= update.shape[1] else update.mT
                by_shape[tuple(wide.shape)].append((parameter, wide))
            for shape, members in by_shape.items():
                scale = 0.2 * max(shape) ** 0.5  # the size of an AdamW update (Liu et al., 2025, arXiv 2502.16982)
                for (parameter, wide), update in zip(
                    members, orthogonal(torch.stack([wide for _, wide in members])), strict=True
                ):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update if wide.shape == parameter.shape else update.mT, alpha=-group["lr"] * scale)
