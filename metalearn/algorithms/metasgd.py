"""Meta-SGD: the inner learning rates are learned too."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn.algorithms.base import RATE, Meta, trained
from metalearn.algorithms.maml import MAML
from metalearn.errors import UserError
from metalearn.inner.optimizers import Optimizer
from metalearn.models.base import Weights


@dataclass(kw_only=True, eq=False)
class MetaSGD(MAML):
    """MAML with a learned learning rate for every single weight: theta' = theta - alpha o gradient (its equation 2).

    Li, Zhou, Chen & Li, "Meta-SGD: Learning to learn quickly for few-shot learning", 2017 (arxiv.org/abs/1707.09835).
    `inner_optimizer.lr` is where all rates begin. A rate may become negative, and then climbs.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = set(self.inner_optimizer) == {"name", "lr"} and self.inner_optimizer["name"] == "SGD"
        if self.engine == "higher" or not plain:
            raise UserError(
                "algo=metasgd learns the rates of plain SGD without algo.engine=higher: nothing else goes with it"
            )

    def init(self) -> Meta:
        """The model's weights, and beside each adapted one its rates, of the same shape."""
        meta = super().init()
        adapted = {name: weight for name, weight in trained(meta).items() if self.adapts(name)}
        rates = {RATE + name: torch.full_like(weight, self.inner_optimizer["lr"]) for name, weight in adapted.items()}
        return meta | rates

    def weights(self, meta: Meta) -> Weights:
        """Without the rates."""
        return {name: value for name, value in super().weights(meta).items() if not name.startswith(RATE)}

    def stepper(self, meta: Meta, names: Sequence[str]) -> Optimizer:
        """Gradient descent with the learned rates."""
        return PerWeightSGD([meta[RATE + name] for name in names])


class PerWeightSGD:
    """Gradient descent with a learning rate for every weight: an Optimizer of metalearn.inner.optimizers."""

    def __init__(self, rates: list[Tensor]):
        self.rates = rates

    def update(self, weights: list[Tensor], grads: list[Tensor], state: None) -> tuple[list[Tensor], None]:
        """One step; rates are shared by the tasks in the leading dimension."""
        moved = [torch.addcmul(w, rate, g, value=-1) for w, rate, g in zip(weights, self.rates, grads, strict=True)]
        return moved, state
