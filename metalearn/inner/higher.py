"""The inner loop through the library `higher`: one task after the other, with optimizers of torch.optim.

Grefenstette et al., "Generalized inner loop meta-learning", 2019. It gives the same numbers as UnrolledLoop, with one
exception: Adam in second order, where inner gradients are near 0, such as in the body below a head at zero. `higher`
adds eps to the root of the second moment before the bias correction; metalearn's Adam and torch.optim.Adam add it after
the correction. With beta2 = 0.999, the eps of `higher` therefore counts 31.6 times as much in the first step. The
derivative of a step with respect to a gradient near 0 is lr / eps, and smaller by this factor.
"""

import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from metalearn.inner.gradients import leaves
from metalearn.kernels.modes import differentiated_twice
from metalearn.models.weights import Weights
from metalearn.runtime.errors import UserError


class HigherLoop:
    """Steps one task at a time through `higher`'s differentiable copy of a torch.optim optimizer."""

    tasks_at_once: int | None = 1

    def __init__(self, optimizer: type[torch.optim.Optimizer], settings: dict[str, Any]):
        self.optimizer, self.settings = optimizer, settings

    def unroll(
        self, loss: Callable[[Weights], Tensor], start: Weights, second_order: bool, optimizer: Any = None
    ) -> Iterator[Weights]:
        """Unroll as UnrolledLoop does; `optimizer` is not used."""
        import higher

        names = list(start)
        weights = list(start.values()) if second_order else leaves(start.values())
        like = leaves(weights)  # `higher` only reads their number and shapes
        plain = self.optimizer(like, **self.settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stepper = higher.get_diff_optim(plain, like, track_higher_grads=second_order)
        while True:
            yield dict(zip(names, weights, strict=True))
            with differentiated_twice(second_order):
                value = loss(dict(zip(names, weights, strict=True))).sum()
            weights = list(stepper.step(value, params=weights))
            if not second_order:
                weights = leaves(weights)

    @classmethod
    def make(cls, optimizer: dict[str, Any], where: str) -> "HigherLoop":
        """Make the loop from settings; see metalearn.inner.unroll.make_inner_loop."""
        settings = {key: value for key, value in optimizer.items() if key != "name"}
        kind = optimizer.get("name")
        if "_target_" in optimizer:
            raise UserError(
                f"{where}._target_: engine.inner_loop=higher takes optimizers of torch.optim alone; set "
                "engine.inner_loop=unrolled"
            )
        if not (isinstance(kind, str) and hasattr(torch.optim, kind)):
            raise UserError(f"{where}.name={kind}: not an optimizer of torch.optim")
        made = cls(getattr(torch.optim, kind), settings)
        try:  # take a step: `higher` does not support every optimizer of torch.optim
            next(islice(made.unroll(lambda w: w["w"].square().sum(), {"w": torch.ones(1, 2)}, False), 1, None))
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{where}: {' '.join(str(error).split())}") from error
        return made
