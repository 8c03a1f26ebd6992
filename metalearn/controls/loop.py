"""How long to train: small controls around any iterative model, applied in order, once a cycle.

After IteratedModel of MLJ with its packages IterationControl.jl and EarlyStopping.jl (Blaom et al., "MLJ: a Julia
package for composable machine learning", JOSS 2020). What controls read is the recorded history of the run, so that a
run killed and resumed is controlled as if it had never stopped.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from metalearn.errors import UserError


class Iterated(Protocol):
    """What can be iterated: meta-training, and whatever else improves step by step."""

    step: int  # iterations so far
    limit: int  # never more than this
    invalid: str | None  # where a NaN or an infinity arose first, or None

    @property
    def seconds(self) -> float:
        """Time spent so far, over all sessions of a resumed run."""

    @property
    def values(self) -> Mapping[str, float]:
        """The last recorded values by name."""

    @property
    def names(self) -> Sequence[str]:
        """The names that `values` may have."""

    def train(self, until: int) -> None:
        """Take one iteration, or a few, but none beyond `until`: controls look in after each call (`tick`)."""

    def measure(self) -> float:
        """The out-of-sample loss at this moment; lower is better."""

    def training_losses(self, after: int) -> list[float]:
        """Those recorded after this iteration."""

    def save(self, file: str) -> None:
        """Keep the model's present state under this name."""

    def learner(self) -> Any:
        """The model as a user uses it."""


@dataclass
class Cycle:
    """One round of the controls."""

    step: int = 0  # iterations at its end
    seconds: float = 0.0  # at its end
    loss: float | None = None  # out-of-sample, where it was measured


class Stop(NamedTuple):
    """Why the iteration ended."""

    control: str  # its name in the cycle
    reason: str


class Failed(Exception):
    """A control has found that the run must not go on: it ends without a result, and can be resumed."""


class Control:
    """One rule with one meaning. Subclasses override `apply`, and seldom more.

    A criterion reads the history of the run alone (`run.losses`, `run.cycles`), and so needs no state of its own. One
    that does count something itself hands it over in `state`, or a resumed run would begin to count anew.
    """

    trains: ClassVar[bool] = False  # calls run.train()
    measures: ClassVar[bool] = False  # calls run.measure()
    reads_loss: ClassVar[bool] = False  # needs another control that measures
    retrains: ClassVar[bool] = False  # is applied in a retraining too, where no classes are left to measure on

    def apply(self, run: "ControlLoop") -> str | Stop | None:
        """Once a cycle: act, or say in words why the iteration should stop; None lets it go on."""
        return None

    def tick(self, run: "ControlLoop") -> str | None:
        """Look in after each iteration of a `Step`, for what must not wait for the cycle's end; keep it cheap."""
        return None

    def check(self, run: "ControlLoop", name: str) -> None:
        """Before any work: raise UserError where this control cannot work in its cycle."""
        earlier = [run.controls[other] for other in list(run.controls)[: list(run.controls).index(name)]]
        if self.reads_loss and not any(control.measures for control in earlier):
            raise UserError(f"control.cycle.{name}: nothing before it measures a loss; add Evaluate before it")

    def state(self) -> dict[str, Any]:
        """What a resumed run must know, as plain values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""


class ControlLoop:
    """An iterative model under control, and the history of its cycles: what a control is given.

    Args:
        model: what is iterated.
        controls: by name, in the order in which they are applied.

    Raises:
        UserError: a control asks for what nothing in the cycle provides.
    """

    def __init__(self, model: Iterated, controls: Mapping[str, Control]):
        self.model, self.controls = model, controls
        self._cycles: list[Cycle] = [Cycle()]
        self._seen: Callable[[list[Cycle]], list[Cycle]] = lambda cycles: cycles  # those that a view shows
        self._before: Cycle | None = None  # the one after which a view begins
        self._position = 0  # the control that is applied
        self.began: int | None = None  # the iteration at which the present control began
        if not any(control.trains for control in controls.values()):
            raise UserError("control.cycle: none of its controls trains; add Step")
        for name, control in controls.items():
            control.check(self, name)

    def run(self) -> Stop:
        """Apply the controls until one of them, or the model's limit, ends it.

        A control that asks to stop ends the cycle: those after it are not applied.
        """
        names = list(self.controls)
        while True:
            while self._position < len(names):
                name = names[self._position]
                self.began = self.model.step if self.began is None else self.began
                if asked := self.controls[name].apply(self):
                    return asked if isinstance(asked, Stop) else Stop(name, asked)
                self._position, self.began = self._position + 1, None
            if self.model.step >= self.model.limit:
                return Stop("steps", f"all {self.model.limit} meta-steps are done")
            self._next_cycle()

    def _next_cycle(self) -> None:
        self._cycles[-1].step, self._cycles[-1].seconds = self.model.step, self.model.seconds
        self._cycles.append(Cycle())
        self._position, self.began = 0, None

    # -- what controls use ------------------------------------------------------------------------------------

    def train(self, until: int) -> Stop | None:
        """Train up to an iteration. After each call of the model's `train`, controls may stop it (`tick`)."""
        until = min(until, self.model.limit)
        while True:
            for name, control in self.controls.items():
                if reason := control.tick(self):
                    return Stop(name, reason)
            if self.model.step >= until:
                return None
            self.model.train(until)

    def measure(self) -> float:
        """Measure the out-of-sample loss for this cycle, once."""
        cycle = self._cycles[-1]
        if cycle.loss is None:
            cycle.loss = self.model.measure()
        return cycle.loss

    @property
    def step(self) -> int:
        """Iterations so far."""
        return self.model.step

    @property
    def cycles(self) -> list[Cycle]:
        """All cycles, the present one last."""
        return self._seen(self._cycles)

    @property
    def loss(self) -> float | None:
        """The out-of-sample loss measured in this cycle; None where it was not."""
        return self._cycles[-1].loss

    @property
    def losses(self) -> list[float]:
        """All out-of-sample losses measured, in order."""
        return [cycle.loss for cycle in self.cycles if cycle.loss is not None]

    @property
    def training_losses(self) -> list[float]:
        """The training losses recorded in this cycle."""
        return self.model.training_losses(self._cycles[-2].step if len(self._cycles) > 1 else 0)

    @property
    def all_training_losses(self) -> list[float]:
        """All training losses recorded, in order."""
        return self.model.training_losses(self._before.step if self._before else 0)

    @property
    def seconds(self) -> float:
        """Time spent."""
        return self.model.seconds - (self._before.seconds if self._before else 0.0)

    def after(self, count: int) -> "ControlLoop":
        """The same iteration as seen by one who came in after so many cycles."""
        view, seen = copy.copy(self), self._seen
        view._seen, view._before = (lambda cycles: seen(cycles)[count:]), self.cycles[count - 1]
        return view

    def every(self, count: int) -> "ControlLoop":
        """The same iteration as seen by one who looks in at every so manieth cycle alone."""
        view, seen = copy.copy(self), self._seen
        view._seen = lambda cycles: seen(cycles)[count - 1 :: count]
        return view

    # -- resuming ---------------------------------------------------------------------------------------------

    def forget_losses(self) -> None:
        """Let criteria begin anew: earlier losses are of other validation tasks."""
        for cycle in self._cycles:
            cycle.loss = None

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as plain values.

        Raises:
            UserError: a control's state is none.
        """
        states = {name: control.state() for name, control in self.controls.items()}
        for name, state in states.items():
            try:
                json.dumps(state)
            except TypeError as error:
                raise UserError(f"control.cycle.{name}: its state must be plain values ({error})") from error
        cycles = [asdict(cycle) for cycle in self._cycles]
        return {"cycles": cycles, "position": self._position, "began": self.began, "controls": states}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state` was taken, be it in the middle of a cycle. The model is restored before."""
        self._cycles = [Cycle(**cycle) for cycle in state["cycles"]]
        if list(state["controls"]) == list(self.controls):
            self._position, self.began = state["position"], state["began"]
        else:  # with other controls, another cycle begins
            self._next_cycle()
        for name, control in self.controls.items():
            if name in state["controls"]:
                control.restore(state["controls"][name])
