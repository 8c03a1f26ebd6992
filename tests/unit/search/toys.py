"""Studies of toys: objectives that are formulas, models that train in no time, and processes that die."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna

from metalearn.controls.actions import Evaluate, Step
from metalearn.controls.loop import ControlLoop, Paused
from metalearn.search import study_loop
from metalearn.search.candidate import Candidate
from metalearn.search.competition import Competition
from metalearn.search.journal import JournalFile
from metalearn.search.parse import parse
from metalearn.search.samplers import SeededSampler
from metalearn.search.settings import Goal
from metalearn.search.storage import open_record, quiet_optuna
from metalearn.search.study import Study

MIXED = ("lr=tag(log, interval(0.001, 1))", "steps=range(1, 6)", "norm=choice(batch, layer, none)")
DISCRETE = ("steps=range(1, 4)", "norm=choice(batch, layer, none)")
CONTINUOUS = ("lr=tag(log, interval(0.001, 1))", "momentum=interval(0, 0.99)")
SPACES = {"grid": DISCRETE, "cmaes": CONTINUOUS}  # of the samplers that cannot take MIXED

ACCURACY = Goal("val_accuracy", True)
MSE = Goal("val_mse", False)


def study_in(
    folder: Path | None,
    words: Sequence[str] = MIXED,
    sampler: str = "random",
    *,
    trials: int = 8,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    goals: Sequence[Goal] = (ACCURACY,),
    pruner: optuna.pruners.BasePruner | None = None,
    competition: Competition | None = None,
    exclusive: Callable[[], Any] = nullcontext,
    **other: Any,
) -> Study:
    """Open the study in a folder, or create it; without a folder, in memory."""
    with quiet_optuna():
        space = parse(words)
        made = SeededSampler(sampler, space, seed, options or {}, len(goals))
        directions = [goal.direction for goal in goals]
        pruner = pruner or optuna.pruners.NopPruner()
        if folder is None:
            record = optuna.create_study(directions=directions, sampler=made, pruner=pruner)
        else:
            record = open_record(folder, {"sampler": sampler}, made, pruner, directions)
    return Study(
        record=record,
        space=space,
        goals=goals,
        trials=trials,
        competition=competition,
        exclusive=exclusive,
        **other,
    )


def accuracy(candidate: Candidate) -> list[float]:
    """Best where the rate is 0.1, with 3 steps and layer norm."""
    import math

    values = candidate.values
    loss = 0.1 * abs(math.log10(values.get("lr", 0.1)) + 1) + 0.05 * abs(values.get("steps", 3) - 3)
    return [0.9 - loss - 0.2 * (values.get("norm", "layer") != "layer") - 0.1 * abs(values.get("momentum", 0.5) - 0.5)]


def run(study: Study, evaluate: Callable[[Candidate], Sequence[float]] = accuracy, **settings: Any) -> Any:
    """Run a study to its end."""
    with quiet_optuna():
        study.recover()
        return study_loop.run(study, evaluate, **settings)


def drawn(study: Study) -> list[tuple[Any, ...]]:
    """Return the records of a study without times."""
    return [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, _facts(t.user_attrs))
        for t in study.records()
    ]


def _facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in ("seconds", "worker")}


class Killed(BaseException):
    """The end of a process by kill -9: nothing catches it, nothing is tidied up."""


class dying_after:
    """Context in which the process dies before it writes to a journal for the (n + 1)-th time."""

    def __init__(self, appends: int):
        self._left, self._real = appends, JournalFile.append_logs

    def __enter__(self) -> "dying_after":
        def append(journal: JournalFile, logs: list[dict[str, Any]]) -> None:
            if not self._left:
                raise Killed
            self._left -= 1
            self._real(journal, logs)

        JournalFile.append_logs = append  # type: ignore[method-assign]
        return self

    def __exit__(self, kind: type | None, *rest: object) -> bool:
        JournalFile.append_logs = self._real  # type: ignore[method-assign]
        return kind is Killed


class Toy:
    """An iterated model whose accuracy grows with its steps towards a limit.

    Args:
        limit: steps of a full training.
        best: accuracy after infinitely many steps.
    """

    invalid = None
    names = ("loss",)
    seconds = 0.0
    values: Mapping[str, float] = {}

    def __init__(self, limit: int, best: float):
        self.limit, self.best, self.step, self.taken = limit, best, 0, []

    def train(self, until: int) -> None:
        self.step += 1
        self.taken.append(self.step)

    @property
    def accuracy(self) -> float:
        return self.best * self.step / (self.step + 1)

    def measure(self) -> float:
        return 1 - self.accuracy

    def training_losses(self, after: int) -> list[float]:
        return []

    def save(self, file: str) -> None:
        pass

    def learner(self) -> Any:
        return self


class Toys:
    """Train toys under the controls of a study; a paused one is resumed where it stopped.

    Args:
        limit: steps of a full training.
        every: steps between two measurements.
        best: final accuracy of a configuration.
    """

    def __init__(self, limit: int, every: int, best: Callable[[Candidate], float] = lambda c: accuracy(c)[0]):
        self.limit, self.every, self.best = limit, every, best
        self.toys: dict[int, Toy] = {}
        self._saved: dict[int, Any] = {}  # checkpoints, by the number of the trial

    def __call__(self, candidate: Candidate) -> list[float]:
        toy = self.toys[candidate.number] = Toy(self.limit, self.best(candidate))
        loop = ControlLoop(toy, {"train": Step(n=self.every), "score": Evaluate(), **candidate.controls})
        if candidate.number in self._saved:
            taken, state = self._saved[candidate.number]
            toy.taken, toy.step = list(taken), len(taken)
            loop.restore(state)
        try:
            loop.run()
        except Paused:
            self._saved[candidate.number] = list(toy.taken), loop.state()
            raise
        return [toy.accuracy]

    @property
    def spent(self) -> int:
        """Steps of all toys."""
        return sum(len(toy.taken) for toy in self.toys.values())
