"""The result of a training, and the state of a run in its checkpoints."""

import math
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from torch import Tensor

from metalearn.algorithms.parameters import MetaParameters
from metalearn.controls.loop import Stop
from metalearn.training.evaluate import Score
from metalearn.training.outer_optimizer import OuterState
from metalearn.training.schedule import Rates


class BestState(TypedDict):
    """The best learner as plain values and tensors."""

    score: dict[str, Any]
    step: int
    params: dict[str, dict[str, Tensor]]  # of MetaParameters.content


class ResultState(TypedDict):
    """A TrainingResult as plain values and tensors."""

    best: BestState
    steps: int
    stop: list[str]
    seconds: float
    tables: dict[str, list[dict[str, Any]]]
    rates: Rates


class SelectionState(TypedDict):
    """The state of a Selection."""

    best: BestState | None
    measured: int
    loss: float


class TrainerState(TypedDict):
    """The state of a Trainer, without the meta-parameters and the meta-step."""

    optimizer: OuterState
    selection: SelectionState
    since: dict[str, Tensor]  # metrics since the last row, each [steps]
    tables: dict[str, list[dict[str, Any]]]
    row_seconds: float
    lr: float
    trained_seconds: float
    seconds: float
    random: dict[str, Tensor]  # of torch's generators


class RunState(TypedDict):
    """The state of a run in last.pt."""

    trainer: TrainerState
    controls: dict[str, Any]  # of the ControlLoop
    first: ResultState | None  # in a retraining: the result of the first training
    environment: dict[str, str]  # facts that the last bits of a result depend on


class Checkpoint(TypedDict):
    """The content of last.pt."""

    spec: dict[str, Any]
    params: dict[str, dict[str, Tensor]]  # of MetaParameters.content
    step: int
    state: RunState


@dataclass(frozen=True)
class Best:
    """The learner with the best validation score; in a retraining, the one after the last meta-step."""

    score: Score
    step: int
    params: MetaParameters

    def state(self) -> BestState:
        """Return it as plain values and tensors."""
        return {"score": asdict(self.score), "step": self.step, "params": self.params.content()}

    @classmethod
    def restored(cls, state: BestState, device: str) -> "Best":
        """Make it from its state."""
        params = MetaParameters.of(state["params"]).map(lambda value: value.to(device))
        return cls(Score(**state["score"]), state["step"], params)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Args:
        best: the learner to test.
        steps: meta-steps taken.
        stop: the control that stopped the training, and its reason.
        seconds: the time of training in seconds, without evaluation.
        tables: the rows of metrics.csv, timing.csv and layers.csv.
        rates: the learning rates of a schedule that steps at measurements, see Schedule; else empty.
    """

    best: Best
    steps: int
    stop: Stop
    seconds: float
    tables: dict[str, list[dict[str, Any]]]
    rates: Rates

    def state(self) -> ResultState:
        """Return it as plain values and tensors."""
        return {
            "best": self.best.state(),
            "steps": self.steps,
            "stop": list(self.stop),
            "seconds": self.seconds,
            "tables": self.tables,
            "rates": self.rates,
        }

    @classmethod
    def restored(cls, state: ResultState, device: str) -> "TrainingResult":
        """Make it from its state."""
        best, stop = Best.restored(state["best"], device), Stop(*state["stop"])
        return cls(best, state["steps"], stop, state["seconds"], state["tables"], state["rates"])


def unmeasured() -> Score:
    """Return the score of a learner that no validation classes are left for."""
    return Score(math.nan, 0.0, 0, [])


def detached(params: MetaParameters) -> MetaParameters:
    """Return a copy of meta-parameters that further training does not change."""
    return params.map(lambda value: value.detach().clone())
