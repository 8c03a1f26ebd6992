"""Meta-SGD: the inner learning rates are learned too."""

from dataclasses import dataclass

import torch

from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parameters import MetaParameters
from metalearn.inner.optimizers import Optimizer, PerWeightSGD
from metalearn.runtime.errors import UserError


@dataclass(kw_only=True, eq=False)
class MetaSGD(MAML):
    """MAML with a learned learning rate for each weight: theta' = theta - alpha o gradient, elementwise (equation 2).

    Li, Zhou, Chen & Li, "Meta-SGD: Learning to learn quickly for few-shot learning", 2017 (arxiv.org/abs/1707.09835).
    All rates begin at `inner_optimizer.lr`. A rate may become negative; its weight then follows the gradient upwards.
    """

    extra_kind = "rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        plain = set(self.inner_optimizer) == {"name", "lr"} and self.inner_optimizer["name"] == "SGD"
        if self.engine.inner_loop == "higher" or not plain:
            raise UserError(
                "algo=metasgd learns the rates of plain SGD: leave out other optimizers, their settings, "
                "and engine.inner_loop=higher"
            )

    def init(self) -> MetaParameters:
        """The model's weights, and for each adapted one its rates, of the same shape."""
        params = super().init()
        adapted = {name: weight for name, weight in params.model.items() if self.is_adapted(name)}
        rates = {_rate(name): torch.full_like(w, self.inner_optimizer["lr"]) for name, w in adapted.items()}
        return params._replace(extra=rates)

    def optimizer(self, params: MetaParameters, names: list[str]) -> Optimizer:
        """Gradient descent with the learned rates."""
        return PerWeightSGD([params.extra[_rate(name)] for name in names])


def _rate(weight: str) -> str:
    """The name of a weight's rates."""
    return f"rate.{weight}"
