"""Storage of a study: a journal in its folder, or a database that several machines share."""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage

from metalearn.runtime.errors import UserError
from metalearn.search.journal import JournalFile
from metalearn.search.records import IDENTITY, SPEC
from metalearn.search.settings import SearchSettings
from metalearn.search.spec import changes, extends

if TYPE_CHECKING:
    from metalearn.search.database import Database

JOURNAL = "study.journal"  # one JSON value a line


def connect(settings: SearchSettings) -> "Database | None":
    """Connect to the database of a search; None for a search whose study is in its folder.

    Raises:
        UserError: it cannot be reached or used.
    """
    if settings.storage is None:
        return None
    from metalearn.search.database import Database  # imports what only a database needs

    assert settings.name is not None
    return Database(settings.storage, settings.name, settings.heartbeat)


def open_record(folder: Path, spec: dict[str, Any], sampler: BaseSampler, pruner: BasePruner,
                directions: Sequence[Any], database: "Database | None" = None) -> optuna.Study:  # fmt: skip
    """Create a study in a folder or a database, or load the one that is there.

    Args:
        folder: of the study.
        spec: what is searched and how, as JSON values.
        sampler, pruner: of the study.
        directions: of its objectives.
        database: that keeps the study; None: a journal in the folder.

    Raises:
        UserError: the study that is there has another spec.
    """
    parts: dict[str, Any] = {"sampler": sampler, "pruner": pruner, "directions": directions, "load_if_exists": True}
    if database is None:
        storage = JournalStorage(JournalFile(folder / JOURNAL))
        record = optuna.create_study(storage=storage, study_name="search", **parts)
        _agree(record, spec, str(folder), "folder")
        return record
    with database.exclusive():
        record = optuna.create_study(storage=database.storage, study_name=database.name, **parts)
        _agree(record, spec, f"search.name={database.name}", "search.name=")
    return record


def _agree(record: optuna.Study, spec: dict[str, Any], where: str, way_out: str) -> None:
    """Note the spec of a new study or of one that is extended, and compare it with that of an earlier one."""
    earlier = record.user_attrs.get(SPEC)
    if earlier is None:
        record.set_user_attr(IDENTITY, secrets.token_hex(8))
        record.set_user_attr(SPEC, spec)
    elif changed := changes(earlier, spec):
        raise UserError(f"{where}: the study there was begun with other settings ({'; '.join(changed)}); resume it "
                        f"with the command that began it, or choose another {way_out}")  # fmt: skip
    elif extends(earlier, spec):
        record.set_user_attr(SPEC, spec)


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


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's own log lines out of the terminal."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
