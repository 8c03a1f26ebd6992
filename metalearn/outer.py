"""The outer optimiser and its learning-rate schedule, the same for every algorithm."""

import math
from typing import Any, Literal

import torch

from metalearn.algorithms.base import Meta, MetaStep, trained
from metalearn.errors import UserError


class Outer:
    """An optimiser of torch.optim that follows the directions an algorithm gives.

    Args:
        optimizer: {name: a class of torch.optim, lr: ..., ...}.
        schedule: of the learning rate: `constant`, or to 0 over the run, `linear` or `cosine`.
        warmup: meta-steps over which the learning rate first rises linearly.
        clip: largest norm of the whole meta-gradient, or null.
    """

    def __init__(
        self,
        *,
        optimizer: dict[str, Any],
        schedule: Literal["constant", "linear", "cosine"],
        warmup: int,
        clip: float | None,
        meta: Meta,
        steps: int,
    ):
        if warmup < 0 or (clip is not None and clip <= 0):
            raise ValueError(f"warmup={warmup} clip={clip}: warmup must be at least 0, clip above 0 or null")
        self.meta, self.clip = meta, clip
        self.parameters = {name: p.requires_grad_() for name, p in trained(meta).items()}
        settings = {key: value for key, value in optimizer.items() if key != "name"}
        kind = getattr(torch.optim, str(optimizer.get("name")), None)
        if kind is None:
            raise UserError(f"outer.optimizer.name={optimizer.get('name')}: not an optimiser of torch.optim")
        try:
            self.optimizer = kind(list(self.parameters.values()), **settings)
            trial = torch.zeros(2, 2, requires_grad=True)  # some need a closure, or sparse gradients
            trial.grad = torch.ones(2, 2)
            kind([trial], **settings).step()
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"outer.optimizer: {error}") from error

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
            done = step / max(1, steps)
            return rise * {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[schedule]

        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def step(self, result: MetaStep) -> None:
        """Change the meta-parameters in place by one step, and take over the running averages."""
        for name, parameter in self.parameters.items():
            parameter.grad = result.gradients[name]
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.clip)
        self.optimizer.step()
        self.scheduler.step()
        self.meta.update(result.averages)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])
