"""Open a run's folder: begin a run there, or resume the one in it."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metalearn.errors import UserError
from metalearn.lifecycle import lock, manifest
from metalearn.lifecycle.manifest import RunManifest, changes, read_manifest, write_manifest
from metalearn.lifecycle.resume_command import command, quoted
from metalearn.recording import checkpoint
from metalearn.recording.checkpoint import BEFORE, LAST
from metalearn.runtime import distributed
from metalearn.runtime.console import say, warn
from metalearn.runtime.files import read_json


class Invocation(NamedTuple):
    """The facts about a run that only the command line knows."""

    overrides: list[str] | None = None  # the command line without the settings of resuming; None from Python
    group: str | None = None  # the sweep that the run belongs to
    describe: Callable[[Path], None] = lambda folder: None  # writes the composed configuration
    by_default: bool = False  # the user did not name the folder: where a run has it, take another


def _compare(folder: Path, begun: RunManifest, now: RunManifest) -> list[str]:
    """List the changes since a run was begun.

    Raises:
        UserError: there are changes, and allow_changes is not set.
    """
    found = changes(begun.config, now.config)
    if begun.data != now.data:
        found.append(f"the data set found: {begun.data} -> {now.data}")
    if found and not now.config.get("allow_changes"):
        shown = "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        raise UserError(f"{folder}: its configuration has changed: {shown}. To resume all the same: allow_changes=true")
    return found


class OpenedRun(NamedTuple):
    """A run's folder, as it was found."""

    begun: RunManifest
    content: dict[str, Any] | None  # of the checkpoint to resume from
    result: dict[str, Any] | None  # of a run that is complete
    is_new: bool  # whether its configuration is new
    changed: Sequence[str] = ()  # the settings in which it differs from how it was begun


def open_run(
    folder: Path, now: RunManifest, device: str, accept: Callable[[dict[str, Any], list[str]], None]
) -> OpenedRun:
    """Begin a run in a folder, or resume the one in it, as the setting `resume` says.

    Args:
        now: the manifest of the present command.
        device: on which it computes.
        accept: given the checkpoint and the changes, raises UserError where these cannot be combined.

    Raises:
        UserError: nothing to resume, or a run that must not be overwritten, or one that has changed.
    """
    config, begun, result = now.config, read_manifest(folder), folder / "result.json"
    checkpoints = [path for name in (LAST, BEFORE) if (path := folder / "checkpoints" / name).exists()]
    if (config.get("resume") is None or begun is None) and (checkpoints or result.exists()):
        how = f"resume it ({command(folder)}) or" if begun else f"it cannot be resumed without its {manifest.FILE};"
        raise UserError(f"{folder}: holds a run already: {how} choose another folder")
    if config.get("resume") is None or (begun is None and config["resume"] == "auto"):
        return OpenedRun(write_manifest(folder, now), None, None, True)
    if begun is None:
        raise UserError(f"resume={folder}: no run was begun there (it has no {manifest.FILE})")
    changed = _compare(folder, begun, now)
    if result.exists():
        if changed:
            raise UserError(f"{folder}: this run is complete and is not changed any more ({changed[0]}). To test its "
                            f"learner elsewhere: python -m metalearn.evaluate {quoted(folder)} ...; to train from its "
                            f"weights: init={quoted(folder)}")  # fmt: skip
        try:
            return OpenedRun(begun, None, read_json(result), False)
        except ValueError as error:
            raise UserError(f"{result}: damaged; remove it, and the resumed run will test once more") from error
    _clear(folder)
    content = _last(checkpoints)
    if content:
        with checkpoint.restoring(folder / "checkpoints"):
            accept(content, changed)
    if changed:
        say(f"{folder}: resuming with changes: {'; '.join(changed)}")
        begun = write_manifest(folder, now._replace(identity=begun.identity, group=begun.group))
    say(f"{folder}: " + (f"resuming from meta-step {content['step']}" if content else "no checkpoint yet: from step 0"))
    if content:
        for name, here in environment(device).items():
            if (before := content["state"].get(name, here)) != here:
                warn(f"{name}: {before} -> {here}; the last digits may differ")
    return OpenedRun(begun, content, None, bool(changed), changed)


def _clear(folder: Path) -> None:
    """Remove temporary files that a killed process left behind."""
    for place in (folder, folder / "checkpoints"):
        for file in place.glob(".*"):
            if re.fullmatch(r"\..+\.(pt|csv|json)\.\w{8}|\..+\.pt\.link", file.name):
                file.unlink(missing_ok=True)


def _last(checkpoints: Sequence[Path]) -> dict[str, Any] | None:
    """Return the newest readable checkpoint. Rename damaged ones and warn."""
    for path in checkpoints:
        try:
            return checkpoint.read(path)
        except checkpoint.Damaged as error:
            aside = path.with_name(f"{path.stem}.damaged.pt")
            path.replace(aside)
            warn(f"{error}; it is now {aside.name}, resuming from the checkpoint before it")
    if checkpoints:
        warn("no checkpoint can be read: starting again from meta-step 0, which leads to the same result")
    return None


def environment(device: str) -> dict[str, str]:
    """The facts, beside the configuration, that the last bits of a result depend on."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "processes": os.environ["WORLD_SIZE"] if distributed.is_torchrun() else "1",
        "device": device,
    }


def unfinished(pattern: str, config: Mapping[str, Any]) -> Path | None:
    """Find the last unfinished run of this very configuration, and lock it for this process.

    Runs that another process works on are passed over.

    Args:
        pattern: `hydra.run.dir` as configured: one folder, or one with `${...}` in its last part.
    """
    parent, name = Path(pattern).parent, Path(pattern).name
    candidates = list(parent.glob("*/")) if "${" in name else [Path(pattern)]
    found = []
    for folder in candidates:
        try:
            run = read_manifest(folder)
        except UserError:
            continue
        if run is None or changes(run.config, manifest.json_values(config)):
            continue
        if "${" in name and (folder / "result.json").exists():
            continue
        found.append(folder)
    if "${" not in name:
        return found[0] if found else None
    found.sort(key=lambda folder: (folder / manifest.FILE).stat().st_mtime_ns, reverse=True)
    return next(filter(lock.claim, found), None)
