"""The outer learning rate over the meta-steps of a run, exact when it is resumed or trained again."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from metalearn.runtime.errors import UserError
from metalearn.training.schedulers import expanded, make

Rates = list[tuple[int, float]]  # rates, each with the meta-step from which it holds


class ScheduleState(TypedDict):
    """The state of a Schedule."""

    scheduler: dict[str, Any]
    scores: list[tuple[int, float | None]]
    rates: Rates


class Schedule:
    """A scheduler of torch.optim that changes the rate of an optimizer, and its momentum where the scheduler cycles it.

    `ReduceLROnPlateau` steps at each measurement, every other scheduler at each meta-step.

    Args:
        setting: `constant`, `linear`, `cosine`, or {name: a class of torch.optim.lr_scheduler, its arguments}.
        steps: meta-steps of the run.
        maximize: True if a higher score is better.
        optimizer: of one parameter group, without steps taken.
        trial: makes another optimizer with the same settings, to try the scheduler on.

    Attributes:
        settings: all that the rates depend on, except the scores, as plain values.
        needs_scores: True if the schedule steps at measurements.
        rates: with `needs_scores`, the rates so far, each with the meta-step from which it holds; else empty.

    Raises:
        UserError: no such scheduler, or a wrong argument.
    """

    def __init__(self, setting: str | Mapping[str, Any], steps: int, maximize: bool, optimizer: Optimizer,
                 trial: Callable[[], Optimizer]):  # fmt: skip
        node = expanded(setting, steps)
        self._steps, self._optimizer = steps, optimizer
        self._scheduler: LRScheduler | None = make(node, steps, maximize, optimizer, trial)
        self.needs_scores = isinstance(self._scheduler, ReduceLROnPlateau)
        self.settings: dict[str, Any] = {"schedule": node} if self.needs_scores else {"schedule": node, "steps": steps}
        self.rates: Rates = [(0, self.rate)] if self.needs_scores else []
        self._scores: list[tuple[int, float | None]] = []

    @property
    def rate(self) -> float:
        """The present learning rate, without warm-up."""
        return float(self._optimizer.param_groups[0]["lr"])

    def advance(self, taken: int) -> None:
        """Set the rate of the next meta-step.

        Args:
            taken: meta-steps taken. After the last one nothing changes, because a schedule may end with the run.
        """
        if self._scheduler is None:
            self._set(next(rate for start, rate in reversed(self.rates) if start <= taken))
        elif not self.needs_scores and taken < self._steps:
            self._scheduler.step()

    def measured(self, step: int, score: float | None) -> None:
        """Take a validation score into account.

        Args:
            step: meta-steps taken.
            score: None forgets all earlier scores, which are not comparable with later ones.
        """
        self._scores.append((step, score))
        if not isinstance(self._scheduler, ReduceLROnPlateau):
            return
        if score is None:
            self._scheduler._reset()
        else:
            self._scheduler.step(score)
        if self.rate != self.rates[-1][1]:
            self.rates.append((step, self.rate))

    def replay(self, rates: Sequence[tuple[int, float]]) -> None:
        """Follow the rates that another training has recorded, as a retraining does, which has no scores.

        Raises:
            UserError: there are none.
        """
        if not rates:
            raise UserError("outer.schedule: the retraining replays the rates of the first training, which had a "
                            "schedule of another kind and recorded none")  # fmt: skip
        self._scheduler, self.rates = None, list(rates)
        self.advance(0)

    def state(self) -> ScheduleState:
        """Return what `restore` needs, as plain values; the optimizer's groups are a state of their own."""
        scheduler = {} if self._scheduler is None else _plain_state(self._scheduler.state_dict())
        return {"scheduler": scheduler, "scores": list(self._scores), "rates": list(self.rates)}

    def restore(self, state: ScheduleState) -> None:
        """Resume under the same settings, after the groups of the optimizer were restored."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))
            self.rates = [*state["rates"]]
        self._scores = [*state["scores"]]

    def catch_up(self, state: ScheduleState, taken: int) -> None:
        """Resume under other settings: with the rates that these give after as many meta-steps and the same scores."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the optimizer takes no steps between
            for step in range(1, taken + 1):
                self.advance(step)
        for step, score in state["scores"]:
            self.measured(step, score)

    def _set(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate


def _plain_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a scheduler's state that are plain values. The others, such as functions, never change."""
    kept = {name: copy.deepcopy(value) for name, value in state.items() if _is_plain(value)}
    if "_schedulers" in state:
        kept["_schedulers"] = [_plain_state(member) for member in state["_schedulers"]]
    return kept


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(_is_plain(part) for part in (*value, *value.values()))
    if type(value) in (list, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str)
