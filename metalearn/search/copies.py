"""Further records of a trial: of one that is promoted or tried again, since Optuna cannot reopen a finished record."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from metalearn.search.records import FOLDER, ORIGIN, RUNG, WITHDRAWN, WORKER, origin


def add_again(study: Study, trial: FrozenTrial, changes: Mapping[str, Any]) -> None:
    """Add a record in which a trial waits for a worker, with its number, hyperparameters and scores.

    Args:
        changes: of its attributes.
    """
    attributes = {**trial.user_attrs, ORIGIN: origin(trial), **changes}
    for name in (WORKER, FOLDER):
        attributes.pop(name, None)
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attributes,
            system_attrs=trial.system_attrs,
            intermediate_values=trial.intermediate_values,
        )
    )


def is_duplicate(trial: Trial, records: Sequence[FrozenTrial]) -> bool:
    """True if another record of the same trial is trained too. A server that was stopped may have added it twice."""
    rung = int(trial.user_attrs.get(RUNG, 0))
    first = int(trial.user_attrs.get(ORIGIN, trial.number))
    for other in records:
        same = origin(other) == first and int(other.user_attrs.get(RUNG, 0)) == rung and other.number != trial.number
        if same and WITHDRAWN not in other.user_attrs and other.state != TrialState.FAIL:
            if other.state != TrialState.WAITING or other.number > trial.number:
                return True
    return False
