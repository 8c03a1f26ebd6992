"""Competing models: successive halving and Hyperband with trainings that are paused and resumed.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016; Li et
al., "Hyperband", JMLR 2018. The trials of a bracket train to a first rung and pause. The best 1 / factor of them are
resumed from their checkpoints and train to the next rung, `factor` times as far, until one rung is the full training.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from metalearn.runtime.errors import UserError
from metalearn.search.ranking import ranked
from metalearn.search.records import BRACKET, RUNG

BUSY = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class Bracket:
    """Trials that compete with each other.

    Args:
        size: number of trials at the first rung.
        rungs: iterations at which they pause, increasing; the last is the full training.
    """

    size: int
    rungs: tuple[int, ...]


@dataclass(frozen=True)
class Competition:
    """All brackets of a study, one after the other.

    Args:
        brackets: in the order in which their trials are asked for.
        factor: one trial in `factor` is promoted.
        maximize: True if higher scores are better.
    """

    brackets: tuple[Bracket, ...]
    factor: int
    maximize: bool

    def place(self, trials: Mapping[int, FrozenTrial]) -> int:
        """Return the bracket of a new trial: the first with a free place.

        Args:
            trials: the last record of each trial by its origin.
        """
        for index, bracket in enumerate(self.brackets):
            if len(_members(trials, index)) < bracket.size:
                return index
        return len(self.brackets) - 1

    def target(self, trial: FrozenTrial) -> int:
        """Return the iteration at which a record of a trial pauses or ends."""
        rungs = self.brackets[int(trial.user_attrs[BRACKET])].rungs
        return rungs[int(trial.user_attrs.get(RUNG, 0))]

    def promotions(self, trials: Mapping[int, FrozenTrial], complete: bool) -> list[int]:
        """Return the origins of the trials to promote now, the best first, of equal scores the earlier trial first.

        A trial without a finite score is never promoted. One that fails gives its place to another.

        Args:
            trials: the last record of each trial by its origin.
            complete: True if no further trial will be asked for.
        """
        for index, bracket in enumerate(self.brackets):
            members = _members(trials, index)
            if len(members) < bracket.size and not complete:
                return []  # its trials are asked for first
            for rung in range(len(bracket.rungs) - 1):
                reached = [n for n, t in members.items() if int(t.user_attrs.get(RUNG, 0)) > rung]
                here = {n: t for n, t in members.items() if int(t.user_attrs.get(RUNG, 0)) == rung}
                if any(trial.state in BUSY for trial in here.values()):
                    return []  # other workers still train towards this rung
                places = max(1, len(members) // self.factor ** (rung + 1)) - len(reached)
                losses = {n: self._loss(trial) for n, trial in here.items()}
                fit = {n: loss for n, loss in losses.items() if math.isfinite(loss)}
                if places > 0 and fit:
                    return ranked(fit)[:places]
        return []

    def _loss(self, trial: FrozenTrial) -> float:
        """Return the last reported score of a trial, such that lower is better."""
        value = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.maximize else value


def _members(trials: Mapping[int, FrozenTrial], bracket: int) -> dict[int, FrozenTrial]:
    """Return the trials of a bracket that have not failed."""
    return {n: t for n, t in trials.items() if t.user_attrs.get(BRACKET) == bracket and t.state != TrialState.FAIL}


def plan(
    mode: str, *, trials: int, iterations: int, every: int, factor: int, first: int | None, maximize: bool
) -> Competition:
    """Divide the trials of a study into brackets.

    Args:
        mode: `halving`, one bracket, or `hyperband`, brackets from many short trainings to few long ones.
        trials: configurations in total.
        iterations: of a full training.
        every: iterations between two measurements; rungs are multiples of it.
        factor: one trial in `factor` is promoted.
        first: iterations of the first rung; None: so few that one trial is left for the last rung.
        maximize: True if higher scores are better.

    Raises:
        UserError: the training is too short for two rungs.
    """
    smallest = first or every
    depth = int(math.log(max(iterations / smallest, 1)) / math.log(factor) + 1e-9)
    if first is None:
        depth = min(depth, int(math.log(max(trials, 1)) / math.log(factor) + 1e-9))
        early = {every * round(iterations / factor**i / every) for i in range(1, depth + 1)}
    else:
        early = {every * math.ceil(first / every) * factor**i for i in range(depth + 1)}
    rungs = [*sorted(rung for rung in early if 0 < rung < iterations), iterations]
    if len(rungs) < 2:
        raise UserError(
            f"search.compete={mode}: {iterations} meta-steps, measured every {every}, and {trials} trials leave no "
            f"rung before the end; lower eval.every= or search.first_rung=, or raise steps= or search.trials="
        )
    if mode == "halving":
        return Competition((Bracket(trials, tuple(rungs)),), factor, maximize)
    last = len(rungs) - 1
    weights = [factor**s / (s + 1) for s in range(last, -1, -1)]  # Li et al., algorithm 1: equal budgets
    sizes = _divide(trials, weights)
    found = [Bracket(size, tuple(rungs[start:])) for start, size in enumerate(sizes) if size]
    return Competition(tuple(found), factor, maximize)


def _divide(total: int, weights: Sequence[float]) -> list[int]:
    """Divide a number in proportion to weights, by largest remainders."""
    shares = [total * weight / sum(weights) for weight in weights]
    sizes = [int(share) for share in shares]
    for index in sorted(range(len(weights)), key=lambda i: sizes[i] - shares[i])[: total - sum(sizes)]:
        sizes[index] += 1
    return sizes
