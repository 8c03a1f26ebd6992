"""Messages between the process that searches and those of Ray: the order for a trial, and its progress."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metalearn.search.population import Schedule

ORDER, REPORT = "order", "report"  # entries of Ray's configuration and result: JSON, which Ray leaves alone
SCORE, TIME = "score", "time"  # entries of Ray's result for its schedulers
WORST = 1e30  # size of the score of a trial that has none: Ray sorts no infinities


@dataclass(frozen=True, kw_only=True)
class Order:
    """A trial to train, as the process that searches describes it to another.

    Args:
        number: of the trial.
        config: of the run, plain values.
        words: of the command line.
        settings: hyperparameters by name.
        goals: entries of result.json.
        score: name of the validation score.
        maximize: True if a higher one is better.
        unit: meta-steps that count as one for Ray's schedulers.
        group: name of the study, for trackers.
        identity: of the trial, for trackers.
        threads: of the training.
        folder: the working folder of the process that searches.
        stop: a file whose presence stops the search.
        start: a checkpoint of Ray from an earlier session to resume from.
        begin: the meta-step of its last validation.
    """

    number: int
    config: Mapping[str, Any]
    words: list[str]
    settings: Mapping[str, Any]
    goals: list[str]
    score: str
    maximize: bool
    unit: int
    group: str
    identity: str
    threads: int
    folder: str
    stop: str
    start: str | None = None
    begin: int = 0

    def spell(self) -> dict[str, str]:
        """Return Ray's configuration of the trial."""
        return {ORDER: json.dumps(asdict(self))}

    @property
    def worst(self) -> float:
        """The score of a trial that has none."""
        return -WORST if self.maximize else WORST

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "Order":
        """Return the order in a configuration of Ray."""
        return cls(**json.loads(config[ORDER]))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a trial since its last pause.

    Args:
        number: of the trial.
        step: meta-steps so far.
        losses: new validation losses by meta-step.
        settings: under which it was trained.
        schedule: all settings that led to its weights, by the meta-step from which they held.
        seconds: duration.
        results: entries of result.json by name, if it was trained to its end.
        failure: why it failed.
        stopped: it was saved between two validations, because the search stops.
    """

    number: int
    step: int
    losses: list[tuple[int, float]]
    settings: Mapping[str, Any]
    schedule: Schedule
    seconds: float
    results: Mapping[str, Any] | None = None
    failure: str | None = None
    stopped: bool = False

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "Progress":
        """Return the progress in a result of Ray."""
        return cls(**json.loads(result[REPORT]))
