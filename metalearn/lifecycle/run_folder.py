"""Open the folder of a run: start a run there, or resume the one in it."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from metalearn.algorithms.parameters import MetaParameters
from metalearn.config.quoting import assignment, shell_quoted
from metalearn.lifecycle import lock, manifest
from metalearn.lifecycle.manifest import RunManifest, changes_scores, read_manifest, write_manifest
from metalearn.lifecycle.meaning import changes, meaning_without_setup
from metalearn.lifecycle.setup import Setup
from metalearn.recording import checkpoint
from metalearn.recording.checkpoint import BEFORE, BEST, LAST
from metalearn.runtime.console import say, warn
from metalearn.runtime.errors import RunExists, Unfinished, UserError
from metalearn.runtime.files import read_json
from metalearn.training.result import Checkpoint


class Invocation(NamedTuple):
    """Facts about a run that only the command line knows."""

    overrides: list[str] | None = None  # the command line without the settings of resuming; None from Python
    group: str | None = None  # the sweep that the run belongs to
    describe: Callable[[Path], None] = lambda folder: None  # writes the composed configuration
    identity: str | None = None  # of the run for trackers; None: made up, and kept with the run
    role: str | None = None  # in a search: `trial`, or `confirmation of ...`
    by_default: bool = False  # the user did not name the folder: if a run has it, take another


@dataclass(frozen=True)
class OpenedRun:
    """The folder of a run.

    Args:
        manifest: the facts under which the run is trained.
        checkpoint: the content of the checkpoint to resume from; None to start from scratch.
        result: the content of result.json, if the run is complete.
        is_new: the run has just been started.
        changed: the settings in which it differs from the run that was started, as `name: old -> new`.
    """

    manifest: RunManifest
    checkpoint: Checkpoint | None = None
    result: dict[str, Any] | None = None
    is_new: bool = False
    changed: Sequence[str] = ()

    @property
    def scores_changed(self) -> bool:
        """True if earlier validation scores are not comparable with later ones."""
        return changes_scores(self.changed)


@contextmanager
def unused_removed(folder: Path, invocation: Invocation) -> Iterator[None]:
    """Remove the folder of a new run that ends with an error before it has any result, unless the user named it."""
    try:
        yield
    except Unfinished:
        raise
    except Exception:
        used = [path for name in (LAST, BEFORE, BEST) if (path := folder / "checkpoints" / name).exists()]
        rows = folder / "metrics.csv"
        if invocation.by_default and not used and not (rows.exists() and len(rows.read_bytes().splitlines()) > 1):
            shutil.rmtree(folder, ignore_errors=True)  # `lock.new_folder` made it for this process
        raise


def open_run(setup: Setup, folder: Path, present: RunManifest) -> OpenedRun:
    """Start a run in a folder, or resume the one in it, depending on the setting `resume`.

    Args:
        present: the manifest of the present command.

    Raises:
        RunExists: a new run was asked for, and the folder contains one.
        UserError: there is nothing to resume, or the run has changed.
    """
    resume, allow_changes = setup.settings.resume, setup.settings.allow_changes
    earlier, result = read_manifest(folder), folder / "result.json"
    checkpoints = [path for name in (LAST, BEFORE) if (path := folder / "checkpoints" / name).exists()]
    if (resume is None or earlier is None) and (checkpoints or result.exists()):
        raise RunExists(folder, None if earlier else f"it cannot be resumed without its {manifest.FILE}")
    if resume is None or (earlier is None and resume == "auto"):
        return OpenedRun(write_manifest(folder, present), is_new=True)
    if earlier is None:
        raise UserError(f"resume={folder}: no run was started there (it has no {manifest.FILE})")
    changed = changes(earlier, present.config, present.meaning)
    if earlier.data != present.data:
        changed.append(f"the data set found: {earlier.data} -> {present.data}")
    if result.exists():
        return OpenedRun(earlier, result=_result(folder, changed))
    if changed and not allow_changes:
        raise UserError(
            f"{folder}: its configuration has changed: {some(changed)}. To resume all the same: allow_changes=true"
        )
    _clear(folder)
    content = _last(checkpoints)
    if content:
        with checkpoint.restoring(folder / "checkpoints"):
            _check_changes(setup, content, changed)
    if changed:
        say(f"{folder}: resuming with changes: {'; '.join(changed)}")
        earlier = write_manifest(folder, _as_begun(present, earlier))
    say(f"{folder}: " + (f"resuming from meta-step {content['step']}" if content else "no checkpoint yet: from step 0"))
    if content:
        _warn_of_environment(content, environment(setup))
    return OpenedRun(earlier, content, changed=changed)


def _as_begun(present: RunManifest, earlier: RunManifest) -> RunManifest:
    return present._replace(identity=earlier.identity, group=earlier.group, role=earlier.role)


def some(changed: Sequence[str], most: int = 4) -> str:
    """The first changes as text, and the number of the others."""
    return "; ".join(changed[:most]) + (f"; and {len(changed) - most} more" if len(changed) > most else "")


def _result(folder: Path, changed: Sequence[str]) -> dict[str, Any]:
    """Read the result of a complete run, which no change may touch."""
    if changed:
        raise UserError(
            f"{folder}: this run is complete and is not changed any more ({some(changed)}). To train from "
            f"its weights, with a fresh optimizer: a new run with {assignment('init', folder)}; to test its learner on "
            f"other tasks: python -m metalearn.evaluate {shell_quoted(folder)} ..."
        )
    try:
        result: dict[str, Any] = read_json(folder / "result.json")
        return result
    except ValueError as error:
        message = f"{folder / 'result.json'}: damaged; remove it, and the resumed run will test once more"
        raise UserError(message) from error


def _check_changes(setup: Setup, content: Checkpoint, changed: Sequence[str]) -> None:
    """Raise UserError if a run cannot be resumed from this checkpoint with these changes."""
    if initial := [name for name in changed if name.startswith("init: ")]:
        raise UserError(f"{initial[0]}: a run that was started can no longer start from other weights")
    own = [name for name in changed if not name.startswith("control.retrain: true -> false")]
    if content["state"]["first"] is not None:
        if own:
            raise UserError(f"{own[0]}: in its retraining a run can no longer be changed")
        return
    if MetaParameters.of(content["params"]).shapes() != setup.phase.outer.params.shapes():
        why = changed[0] if changed else "checkpoints"
        raise UserError(f"{why}: the checkpoint's parameters have other names or shapes than this model's")


def _clear(folder: Path) -> None:
    """Remove temporary files that a killed process left behind."""
    for place in (folder, folder / "checkpoints"):
        for file in place.glob(".*"):
            if re.fullmatch(r"\..+\.(pt|csv|json)\.\w{8}|\..+\.pt\.link", file.name):
                file.unlink(missing_ok=True)


def _last(checkpoints: Sequence[Path]) -> Checkpoint | None:
    """Return the newest readable checkpoint, or None. Rename damaged ones, with a warning."""
    for path in checkpoints:
        try:
            return cast(Checkpoint, checkpoint.read(path))
        except checkpoint.Damaged as error:
            aside = path.with_name(f"{path.stem}.damaged.pt")
            path.replace(aside)
            warn(f"{error}; it is now {aside.name}, resuming from the checkpoint before it")
    if checkpoints:
        warn("no checkpoint can be read: starting again from meta-step 0, which leads to the same result")
    return None


def environment(setup: Setup) -> dict[str, str]:
    """Return the facts besides the configuration that the last bits of a result depend on."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "processes": str(setup.group.size if setup.group else 1),
        "device": setup.device,
    }


def _warn_of_environment(content: Checkpoint, present: Mapping[str, str]) -> None:
    """Warn if the last digits may differ from those of a run that was never stopped."""
    with checkpoint.restoring(Path("checkpoints")):
        earlier = dict(content["state"]["environment"])
    for name, value in present.items():
        if (before := earlier.get(name, value)) != value:
            warn(f"{name}: {before} -> {value}; the last digits may differ")


class Search(NamedTuple):
    """The result of a search for an unfinished run.

    Attributes:
        found: the run, locked for this process.
        nearest: if none was found, the unfinished run with the fewest other settings; None if there is no run.
        changed: those settings, as `name: old -> new`; none if another process works on that run.
    """

    found: Path | None
    nearest: Path | None = None
    changed: Sequence[str] = ()


def unfinished(pattern: str, config: Mapping[str, Any]) -> Search:
    """Find the last unfinished run of exactly this configuration, and lock it for this process.

    Runs that another process works on are skipped.

    Args:
        pattern: `hydra.run.dir` as configured: one folder, or one with `${...}` in its last part.
    """
    parent, name = Path(pattern).parent, Path(pattern).name
    several = "${" in name
    present, meant = manifest.json_values(config), meaning_without_setup(config)
    runs: list[tuple[Path, list[str]]] = []
    for folder in parent.glob("*/") if several else [Path(pattern)]:
        try:
            run = read_manifest(folder)
        except UserError:
            continue
        if run is not None and not (several and (folder / "result.json").exists()):
            runs.append((folder, changes(run, present, meant)))
    same = [folder for folder, changed in runs if not changed]
    if not several:
        return Search(same[0] if same else None)
    same.sort(key=_started, reverse=True)
    if (found := next(filter(lock.claim, same), None)) or not runs:
        return Search(found)
    return Search(None, *min(runs, key=lambda run: (len(run[1]), -_started(run[0]))))


def _started(folder: Path) -> int:
    """The time at which a run was started, in nanoseconds."""
    return (folder / manifest.FILE).stat().st_mtime_ns
