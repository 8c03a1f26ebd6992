"""The outer optimizer of every algorithm."""

import inspect
import re
from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer

from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.config.checks import at_least
from metalearn.config.instantiate import check
from metalearn.config.similar import did_you_mean
from metalearn.runtime.errors import UserError
from metalearn.training.schedule import Schedule, ScheduleState


class OuterState(TypedDict):
    """The state of an OuterOptimizer, without the meta-parameters."""

    settings: dict[str, Any]  # that led to this state
    moments: dict[int, Any]
    groups: list[dict[str, Any]]
    schedule: ScheduleState


class OuterOptimizer:
    """An optimizer of torch.optim that follows the directions an algorithm gives.

    Args:
        optimizer: {name: a class of torch.optim, lr: ..., momentum: ..., ...}.
        schedule: of the learning rate: `constant`, or a `linear` or `cosine` decay to 0 at the end of the run; or
            {name: a class of torch.optim.lr_scheduler, its arguments}.
        warmup: meta-steps over which the learning rate first rises linearly, under any schedule.
        clip: largest norm of the whole meta-gradient, or null.
        clip_value: largest absolute value of each of its entries, or null; applied before `clip`.
        weight_decay: share of everything learned that a meta-step takes away, times the present rate over
            `optimizer.lr` (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2).
        params: the meta-parameters at the beginning; their learned entries are changed in place.
        steps: meta-steps of the run, for the schedule.
        maximize: True if a higher validation score is better, for the schedule.

    Attributes:
        params: the present meta-parameters.
        schedule: of the learning rate, without warm-up.

    Raises:
        UserError: no such optimizer or scheduler, or a wrong argument of it.
        ValueError: `warmup`, `clip`, `clip_value` or `weight_decay` is out of range.
    """

    def __init__(
        self,
        *,
        optimizer: dict[str, Any],
        schedule: str | dict[str, Any],
        warmup: int,
        clip: float | None,
        clip_value: float | None = None,
        weight_decay: float = 0.0,
        params: MetaParameters,
        steps: int,
        maximize: bool = True,
    ):
        at_least(0, warmup=warmup)
        if warmup > max(steps, 1):
            raise ValueError(f"warmup={warmup}: must be at most steps={steps}: the rate never reaches its value")
        for name, limit in {"clip": clip, "clip_value": clip_value}.items():
            if limit is not None and limit <= 0:
                raise ValueError(f"{name}={limit}: must be above 0, or null")
        if not 0 <= weight_decay < 1:
            raise ValueError(f"weight_decay={weight_decay}: must be at least 0 and below 1")
        self.params, self.clip, self.clip_value, self.weight_decay = params, clip, clip_value, weight_decay
        self._warmup, self._taken = warmup, 0
        self.parameters = {name: p.requires_grad_() for name, p in params.learned.items()}
        settings = {key: value for key, value in optimizer.items() if key != "name"}
        kind = _kind(optimizer.get("name"))
        check(settings.get("lr", 0.0), float, "outer.optimizer.lr")
        try:
            self.optimizer: Optimizer = kind(list(self.parameters.values()), **settings)
            _try(kind, settings)
        except (TypeError, ValueError, RuntimeError, AssertionError, OverflowError) as error:
            raise UserError(f"outer.optimizer: {_why(error, kind)}") from error
        self._full_rate = float(self.optimizer.defaults["lr"])
        self.schedule = Schedule(schedule, steps, maximize, self.optimizer, lambda: _try(kind, settings))
        self._settings = {"optimizer": optimizer, **self.schedule.settings}

    def step(self, result: MetaGradient) -> dict[str, Tensor]:
        """Change the meta-parameters by one step, and keep the new running statistics.

        Returns:
            `grad_norm` before clipping and `weight_norm` after the step, left on their device.
        """
        parameters = list(self.parameters.values())
        for name, parameter in self.parameters.items():
            parameter.grad = result.gradients[name]
        norm = clipped = _norm([parameter.grad for parameter in parameters])
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.clip_value)
            clipped = _norm([parameter.grad for parameter in parameters])
        if self.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, clipped)
        self._decay(parameters)
        scheduled = [group["lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["lr"] *= self._warmth
        self.optimizer.step()
        for group, lr in zip(self.optimizer.param_groups, scheduled, strict=True):
            group["lr"] = lr
        self._taken += 1
        self.schedule.advance(self._taken)
        self.params = self.params._replace(statistics=result.statistics)
        return {"grad_norm": norm, "weight_norm": _norm(parameters)}

    def _decay(self, parameters: list[Tensor]) -> None:
        """Shrink all that is learned, in proportion to the present rate."""
        if self.weight_decay and self._full_rate:
            with torch.no_grad():
                torch._foreach_mul_(parameters, 1 - self.weight_decay * self.lr / self._full_rate)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.schedule.rate * self._warmth

    @property
    def _warmth(self) -> float:
        """The factor of the learning rate by warm-up."""
        return min(1.0, (self._taken + 1) / self._warmup) if self._warmup else 1.0

    def state(self) -> OuterState:
        """Return moments, counters and schedule, which `restore` needs besides the meta-parameters."""
        state = self.optimizer.state_dict()
        return {
            "settings": self._settings,
            "moments": state["state"],
            "groups": state["param_groups"],
            "schedule": self.schedule.state(),
        }

    def restore(self, params: MetaParameters, state: OuterState, taken: int) -> None:
        """Resume after `taken` steps.

        The settings remain those of the present configuration. Where they differ from those of the state, the learning
        rate is the one that they give after this number of steps.
        """
        saved = params.learned
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(saved[name])
        device = next(iter(self.parameters.values())).device
        self.params = self.params._replace(statistics=[value.to(device) for value in params.statistics])
        same = state["settings"] == self._settings
        groups = state["groups"] if same else self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
        if same:
            self.schedule.restore(state["schedule"])
        else:
            self.schedule.catch_up(state["schedule"], taken)
        self._taken = taken


def _kind(name: Any) -> type[Optimizer]:
    kind = getattr(torch.optim, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
        raise UserError(f"outer.optimizer.name={name}: not an optimizer of torch.optim")
    return kind


def _why(error: Exception, kind: type[Optimizer]) -> str:
    """Say in words of the settings why an optimizer refuses its arguments, or cannot take a step."""
    text = " ".join(str(error).split())
    if refused := re.search(r"unexpected keyword argument '(\w+)'", text):
        known = [name for name in inspect.signature(kind).parameters if name != "params"]
        meant = did_you_mean(refused[1], known)
        return f"{refused[1]}: {kind.__name__} has no such setting{meant}; it has {', '.join(known)}"
    if "closure" in text:
        return (
            f"{kind.__name__} evaluates the loss several times a step, which a meta-step does not: choose another one"
        )
    return text


def _try(kind: type[Optimizer], settings: dict[str, Any]) -> Optimizer:
    """Take a step of an optimizer of its own: some need a closure, or sparse gradients."""
    weight = torch.zeros(2, 2, requires_grad=True)
    weight.grad = torch.ones(2, 2)
    optimizer = kind([weight], **settings)
    optimizer.step()
    return optimizer


def _norm(tensors: Sequence[Tensor | None]) -> Tensor:
    """The Euclidean norm of all tensors together."""
    with torch.no_grad():
        norm: Tensor = torch.stack(torch._foreach_norm([t for t in tensors if t is not None])).norm()
        return norm
