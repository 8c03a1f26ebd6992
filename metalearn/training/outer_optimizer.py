"""The outer optimizer and its learning-rate schedule, the same for every algorithm."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.config.checks import at_least
from metalearn.config.instantiate import check
from metalearn.errors import UserError


class OuterOptimizer:
    """An optimizer of torch.optim that follows the directions an algorithm gives.

    Args:
        optimizer: {name: a class of torch.optim, lr: ..., ...}.
        schedule: of the learning rate: `constant`, or a `linear` or `cosine` decay to 0 at the end of the run.
        warmup: meta-steps over which the learning rate first rises linearly.
        clip: largest norm of the whole meta-gradient, or null.
        params: the meta-parameters at the beginning; their learned entries are changed in place.
        steps: meta-steps of the run, for the schedule.

    Attributes:
        params: the present meta-parameters.
    """

    def __init__(
        self,
        *,
        optimizer: dict[str, Any],
        schedule: Literal["constant", "linear", "cosine"],
        warmup: int,
        clip: float | None,
        params: MetaParameters,
        steps: int,
    ):
        at_least(0, warmup=warmup)
        if clip is not None and clip <= 0:
            raise ValueError(f"clip={clip}: must be above 0, or null")
        self.params, self.clip = params, clip
        self._schedule, self._warmup, self._steps, self._taken = schedule, warmup, steps, 0
        self.parameters = {name: p.requires_grad_() for name, p in params.learned.items()}
        settings = {key: value for key, value in optimizer.items() if key != "name"}
        kind = getattr(torch.optim, str(optimizer.get("name")), None)
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise UserError(f"outer.optimizer.name={optimizer.get('name')}: not an optimizer of torch.optim")
        check(settings.get("lr", 0.0), float, "outer.optimizer.lr")
        try:
            self.optimizer = kind(list(self.parameters.values()), **settings)
            trial = torch.zeros(2, 2, requires_grad=True)  # some need a closure, or sparse gradients
            trial.grad = torch.ones(2, 2)
            kind([trial], **settings).step()
        except (TypeError, ValueError, RuntimeError, AssertionError, OverflowError) as error:
            raise UserError(f"outer.optimizer: {' '.join(str(error).split())}") from error
        self._base = float(self.optimizer.param_groups[0]["lr"])
        self._set_lr()

    def step(self, result: MetaGradient) -> dict[str, Tensor]:
        """Change the meta-parameters by one step, and take over the running statistics.

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
        self.params = self.params._replace(statistics=result.statistics)
        return {"grad_norm": norm, "weight_norm": _norm(parameters)}

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Return moments and counters, which `restore` needs besides the meta-parameters."""
        state: dict[str, Any] = self.optimizer.state_dict()["state"]
        return state

    def restore(self, params: MetaParameters, state: dict[str, Any], taken: int) -> None:
        """Resume after `taken` steps; the hyperparameters remain those of the present configuration."""
        saved = params.learned
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(saved[name])
        device = next(iter(self.parameters.values())).device
        self.params = self.params._replace(statistics=[value.to(device) for value in params.statistics])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._taken = taken
        self._set_lr()

    def _set_lr(self) -> None:
        """Set the learning rate as a pure function of the steps taken, so that a resumed run needs no state for it."""
        step, done = self._taken, self._taken / max(1, self._steps)
        rise = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        fall = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[self._schedule]
        for group in self.optimizer.param_groups:
            group["lr"] = self._base * (rise * fall)


def _norm(tensors: Sequence[Tensor | None]) -> Tensor:
    """The Euclidean norm of all tensors together."""
    with torch.no_grad():
        norm: Tensor = torch.stack(torch._foreach_norm([t for t in tensors if t is not None])).norm()
        return norm
