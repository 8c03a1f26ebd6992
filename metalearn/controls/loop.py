"""Loop of small controls that decide how long to train: applied in order, once per cycle, around an iterative model.

The design follows MLJ's IteratedModel and its packages IterationControl.jl and EarlyStopping.jl (Blaom et al., "MLJ: a
Julia package for composable machine learning", JOSS 2020). Controls read only the recorded history of the run.
Therefore a run that was killed and resumed takes the same decisions as one that was never interrupted.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from metalearn.controls.iterated import Iterated
from metalearn.runtime.errors import UserError

CYCLE = "control.cycle"  # the setting that holds the controls of a training


@dataclass
class Cycle:
    """Record of one cycle."""

    step: int = 0  # iterations at the end of the cycle
    seconds: float = 0.0  # training time at the end of the cycle
    loss: float | None = None  # out-of-sample loss, if it was measured


class Stop(NamedTuple):
    """Reason why the loop ended."""

    control: str  # name of the control in the cycle
    reason: str


class Failed(Exception):
    """Error raised by a control: the run ends without a result and can be resumed."""


class Paused(Exception):
    """Request of a control to leave the loop and to keep the state, from which it may be resumed."""


class Plan(NamedTuple):
    """The facts that controls are checked against before any work."""

    controls: "Mapping[str, Control]"  # by name, in the order in which they are applied
    names: Sequence[str]  # the names that recorded values may have
    place: str = CYCLE  # where the controls are in the configuration


class Control:
    """Base class of controls. Most subclasses override only `apply`.

    A criterion that reads only the history (`run.losses`, `run.cycles`) needs no state. A control that counts something
    itself must return its counters from `state`; otherwise they restart at zero when the run is resumed.
    """

    trains: ClassVar[bool] = False  # calls run.train()
    measures: ClassVar[bool] = False  # calls run.measure()
    reads_loss: ClassVar[bool] = False  # needs a control before it that measures
    retrains: ClassVar[bool] = False  # also applied when retraining, where there are no validation classes

    def apply(self, run: "ControlLoop") -> str | Stop | None:
        """Act, once per cycle. Return the reason to stop the loop, or None to continue."""
        return None

    def tick(self, run: "ControlLoop") -> str | None:
        """Act after each iteration of a `Step`, if it cannot wait for the end of the cycle. Keep this cheap."""
        return None

    def check(self, plan: Plan, name: str) -> None:
        """Raise UserError if this control cannot work in its cycle. Called before training starts.

        Args:
            plan: the cycle and the values it will have.
            name: of this control in the cycle.
        """
        earlier = [plan.controls[other] for other in list(plan.controls)[: list(plan.controls).index(name)]]
        if self.reads_loss and not any(control.measures for control in earlier):
            raise UserError(f"{plan.place}.{name}: no control before it measures a loss; add Evaluate before it")

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs, as JSON values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state`."""


def check_cycle(plan: Plan) -> None:
    """Check that controls can work together.

    Raises:
        UserError: no control trains, or a control needs something that no earlier control provides.
    """
    if not any(control.trains for control in plan.controls.values()):
        raise UserError(f"{plan.place}: no control trains; add Step")
    for name, control in plan.controls.items():
        control.check(plan, name)


class ControlLoop:
    """Loop that applies controls to an iterative model, with the history of its cycles.

    Each control receives the loop as its argument `run`.

    Args:
        model: the iterative model.
        controls: controls by name, in the order in which they are applied.

    Raises:
        UserError: no control trains, or a control needs something that no earlier control provides.
    """

    unit = "cycles"  # what `number` counts
    place = CYCLE  # where the controls are in the configuration, for messages

    def __init__(self, model: Iterated, controls: Mapping[str, Control]):
        self.model, self.controls = model, controls
        self._cycles: list[Cycle] = [Cycle()]
        self._seen: Callable[[list[Cycle]], list[Cycle]] = lambda cycles: cycles  # the cycles shown by a view
        self._before: Cycle | None = None  # last cycle before a view starts
        self._position = 0  # index of the current control
        self.start_step: int | None = None  # iteration at which the current control started; None between controls
        check_cycle(Plan(controls, model.names, self.place))

    def run(self) -> Stop:
        """Apply the controls until one of them stops the loop or the model reaches its limit.

        When a control stops the loop, the controls after it are not applied.
        """
        names = list(self.controls)
        while True:
            while self._position < len(names):
                name = names[self._position]
                self.start_step = self.model.step if self.start_step is None else self.start_step
                if asked := self.controls[name].apply(self):
                    return asked if isinstance(asked, Stop) else Stop(name, asked)
                self._position, self.start_step = self._position + 1, None
            if self.model.step >= self.model.limit:
                return Stop("steps", f"all {self.model.limit} meta-steps are done")
            self._next_cycle()

    def _next_cycle(self) -> None:
        self._cycles[-1].step, self._cycles[-1].seconds = self.model.step, self.model.seconds
        self._cycles.append(Cycle())
        self._position, self.start_step = 0, None

    def train(self, until: int) -> Stop | None:
        """Train up to iteration `until`. Controls are ticked after each call of the model's `train` and may stop it."""
        while True:
            for name, control in self.controls.items():
                if reason := control.tick(self):
                    return Stop(name, reason)
            if self.model.step >= (end := min(until, self.model.limit)):  # the limit of a shared model may fall
                return None
            self.model.train(end)

    def measure(self) -> float:
        """Measure the out-of-sample loss, at most once per cycle."""
        cycle = self._cycles[-1]
        if cycle.loss is None:
            cycle.loss = self.model.measure()
        return cycle.loss

    @property
    def step(self) -> int:
        """Number of iterations so far."""
        return self.model.step

    @property
    def cycles(self) -> list[Cycle]:
        """All cycles; the current one is the last."""
        return self._seen(self._cycles)

    @property
    def number(self) -> int:
        """Number of cycles so far."""
        return len(self.cycles)

    @property
    def loss(self) -> float | None:
        """Out-of-sample loss of this cycle, or None if it was not measured."""
        return self._cycles[-1].loss

    @property
    def losses(self) -> list[float]:
        """All measured out-of-sample losses, in order."""
        return [cycle.loss for cycle in self.cycles if cycle.loss is not None]

    @property
    def training_losses(self) -> list[float]:
        """Training losses recorded in this cycle."""
        return self.model.training_losses(self._cycles[-2].step if len(self._cycles) > 1 else 0)

    @property
    def all_training_losses(self) -> list[float]:
        """All recorded training losses, in order."""
        return self.model.training_losses(self._before.step if self._before else 0)

    @property
    def seconds(self) -> float:
        """Training time in seconds."""
        return self.model.seconds - (self._before.seconds if self._before else 0.0)

    def after(self, count: int) -> "ControlLoop":
        """Return a view of the loop that starts after `count` cycles."""
        view, seen = copy.copy(self), self._seen
        view._seen, view._before = (lambda cycles: seen(cycles)[count:]), self.cycles[count - 1]
        return view

    def every(self, count: int) -> "ControlLoop":
        """Return a view of the loop that shows every `count`-th cycle."""
        view, seen = copy.copy(self), self._seen
        view._seen = lambda cycles: seen(cycles)[count - 1 :: count]
        return view

    def forget_losses(self) -> None:
        """Forget the measured losses, when the validation tasks have changed and losses are no longer comparable."""
        for cycle in self._cycles:
            cycle.loss = None

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs, as JSON values.

        Raises:
            UserError: the state of a control cannot be written as JSON.
        """
        states = {name: control.state() for name, control in self.controls.items()}
        for name, state in states.items():
            try:
                json.dumps(state)
            except TypeError as error:
                raise UserError(f"{self.place}.{name}: state() must return JSON values ({error})") from error
        cycles = [asdict(cycle) for cycle in self._cycles]
        return {"cycles": cycles, "position": self._position, "start_step": self.start_step, "controls": states}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume exactly where `state` was taken, also within a cycle. Restore the model first."""
        self._cycles = [Cycle(**cycle) for cycle in state["cycles"]]
        if list(state["controls"]) == list(self.controls):
            self._position, self.start_step = state["position"], state["start_step"]
        else:  # the controls have changed: start a new cycle
            self._next_cycle()
        for name, control in self.controls.items():
            if name in state["controls"]:
                control.restore(state["controls"][name])
