"""Where a study is kept: a journal in its folder, or a database that several machines share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from metalearn.errors import UserError
from metalearn.search.records import SPEC
from metalearn.search.settings import SearchSettings

JOURNAL = "study.journal"  # one JSON value a line


def open_record(folder: Path, spec: dict[str, Any], sampler: BaseSampler, pruner: BasePruner,
                directions: Sequence[Any]) -> optuna.Study:  # fmt: skip
    """Create a study in a folder, or load the one in it.

    Args:
        folder: of the study.
        spec: what is searched and how, as JSON values.
        sampler, pruner: of the study.
        directions: of its objectives.

    Raises:
        UserError: the study in the folder has another spec.
    """
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    record = optuna.create_study(storage=storage, study_name="search", directions=directions, sampler=sampler,
                                 pruner=pruner, load_if_exists=True)  # fmt: skip
    earlier = record.user_attrs.get(SPEC)
    if earlier is None:
        record.set_user_attr(SPEC, spec)
    else:
        _compare(folder, earlier, json.loads(json.dumps(spec)))
    return record


def _compare(folder: Path, earlier: dict[str, Any], present: dict[str, Any]) -> None:
    """Raise UserError where a study is resumed with other settings."""
    for name in sorted({*earlier, *present}):
        if (before := earlier.get(name)) != (now := present.get(name)):
            changed = f"{_shown(before)} -> {_shown(now)}"
            raise UserError(f"{folder}: the study there was begun with another {name}: {changed}; resume it with the "
                            "command that began it, or choose another folder")  # fmt: skip


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def pruner_of(settings: SearchSettings, steps: int, every: int) -> BasePruner:
    """Return the pruner of a search.

    Args:
        settings: of the search.
        steps: meta-steps of a full training.
        every: meta-steps between two measurements.
    """
    first = settings.first_rung or every
    if settings.prune == "median":
        return optuna.pruners.MedianPruner()
    if settings.prune == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=settings.factor)
    if settings.prune == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=max(steps, first),
                                              reduction_factor=settings.factor)  # fmt: skip
    return optuna.pruners.NopPruner()
