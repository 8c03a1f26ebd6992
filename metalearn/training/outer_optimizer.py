"""The outer optimiser and its learning-rate schedule, the same for every algorithm."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from metalearn.algorithms.base import Meta, MetaStep, trained
from metalearn.config.checks import at_least
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
        at_least(0, warmup=warmup)
        if clip is not None and clip <= 0:
            raise ValueError(f"clip={clip}: must be above 0, or null")
        self.meta, self.clip = meta, clip
        self._schedule, self._warmup, self._steps, self._taken = schedule, warmup, steps, 0
        self.parameters = {name: p.requires_grad_() for name, p in trained(meta).items()}
        settings = {key: value for key, value in optimizer.items() if key != "name"}
        kind = getattr(torch.optim, str(optimizer.get("name")), None)
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise UserError(f"outer.optimizer.name={optimizer.get('name')}: not an optimiser of torch.optim")
        try:
            self.optimizer = kind(list(self.parameters.values()), **settings)
            trial = torch.zeros(2, 2, requires_grad=True)  # some need a closure, or sparse gradients
            trial.grad = torch.ones(2, 2)
            kind([trial], **settings).step()
        except (TypeError, ValueError, RuntimeError, AssertionError, OverflowError) as error:
            raise UserError(f"outer.optimizer: {' '.join(str(error).split())}") from error
        self._base = float(self.optimizer.param_groups[0]["lr"])
        self._set_lr()

    def step(self, result: MetaStep) -> dict[str, Tensor]:
        """Change the meta-parameters in place by one step, and take over the running averages.

        Returns:
            `grad_norm` before clipping and `weight_norm` after the step, left on their device.
        """
        parameters = list(self.parameters.values())
        for name, parameter in self.parameters.items():
            parameter.grad = result.gradients[name]
        if self.clip is None:
            norm = _norm([parameter.grad for parameter in parameters])
        else:
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self.optimizer.step()
        self._taken += 1
        self._set_lr()
        self.meta.update(result.averages)
        return {"grad_norm": norm, "weight_norm": _norm(parameters)}

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """What `restore` needs beside the meta-parameters: moments, counters."""
        state: dict[str, Any] = self.optimizer.state_dict()["state"]
        return state

    def restore(self, meta: Meta, state: dict[str, Any], taken: int) -> None:
        """Go on after `taken` steps; the hyperparameters remain those of the present configuration."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(meta[name])
        averages = {name: value for name, value in meta.items() if name not in self.parameters}
        self.meta.update({name: value.to(self.meta[name].device) for name, value in averages.items()})
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._taken = taken
        self._set_lr()

    def _set_lr(self) -> None:
        """A pure function of the steps taken, so that a resumed run needs no state for it."""
        step, done = self._taken, self._taken / max(1, self._steps)
        rise = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        fall = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self._schedule]
        for group in self.optimizer.param_groups:
            group["lr"] = self._base * (rise * fall)


def _norm(tensors: Sequence[Tensor | None]) -> Tensor:
    """The Euclidean norm over all of them."""
    with torch.no_grad():
        norm: Tensor = torch.stack(torch._foreach_norm([t for t in tensors if t is not None])).norm()
        return norm
