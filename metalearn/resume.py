"""Going on with a run: which one, whether it is still the same run, and that nobody else writes to it."""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metalearn import checkpoint, lock, parallel, trust
from metalearn.config.quoting import hydra_quoted
from metalearn.console import say, warn
from metalearn.errors import UserError
from metalearn.files import read_json, write_atomically
from metalearn.train import BEFORE, LAST

CONFIG = "config.json"  # in a run's folder: how it was begun
OWN = ("resume", "allow_changes", "profile", "trust")  # settings of resuming, no part of the run itself


class Origin(NamedTuple):
    """Where a run comes from: what the command line knows of it."""

    words: list[str] | None = None  # what was typed, without those of resuming; None from Python
    group: str | None = None  # the sweep that it is one of
    describe: Callable[[Path], None] = lambda folder: None  # write down the configuration as composed
    by_default: bool = False  # the folder was not asked for by name: where a run has it, take another


class Note(NamedTuple):
    """How a run was begun."""

    config: dict[str, Any]
    words: list[str] | None  # what was typed, without those of resuming; None for a run begun from Python
    data: str  # a fingerprint of the data set that was found
    identity: str  # the name that trackers know it by
    group: str | None  # the sweep that it is one of


def _note(folder: Path, begun: Note) -> Note:
    """Write down how a run begins, before it does anything, as config.json."""
    write_atomically(folder / CONFIG, (json.dumps(begun._asdict(), indent=2) + "\n").encode())
    return begun


def noted(folder: Path) -> Note | None:
    """How the run in this folder was begun; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = read_json(folder / CONFIG)
        words = content["words"]
        if not isinstance(content["config"], dict) or not isinstance(words, (list, type(None))):
            raise TypeError
        if not all(isinstance(value, str) for value in (*(words or ()), content["data"], content["identity"])):
            raise TypeError
        return Note(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CONFIG}: damaged: this run cannot be resumed") from error


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two configurations differ, as `name: old -> new`."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        if not prefix and name in (*OWN, "tracker"):  # a tracker only listens
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += changes(a, b, f"{prefix}{name}.")
        elif a != b or type(a) is not type(b):
            found.append(f"{prefix}{name}: {_spell(a)} -> {_spell(b)}")
    # The order of the controls is part of what a run is
    if prefix == "control.cycle." and not found and list(old) != list(new):
        found.append(f"control.cycle: {', '.join(old)} -> {', '.join(new)}")
    return found


# Settings that validation scores do not depend on, or that lead to another learner scored on the same tasks
_SAME_SCORES = ("steps", "control", "log_every", "eval.every", "eval.test_tasks", "test", "outer.", "cuda_graph",
                "algo.meta_batch", "algo.chunk", "algo.recompute", "algo.engine")  # fmt: skip


def changes_scores(changed: Sequence[str]) -> bool:
    """True if scores measured before these changes do not compare with scores measured after them."""
    return any(not change.startswith(_SAME_SCORES) for change in changed)


def _compare(folder: Path, begun: Note, now: Note) -> list[str]:
    """The changes between what a run was and what it is to be.

    Raises:
        UserError: there are some, and they were not allowed.
    """
    found = changes(begun.config, now.config)
    if begun.data != now.data:
        found.append(f"the data set found: {begun.data} -> {now.data}")
    if found and not now.config.get("allow_changes"):
        shown = "; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        raise UserError(f"{folder}: its configuration has changed: {shown}. To go on all the same: allow_changes=true")
    return found


class Opened(NamedTuple):
    """A run's folder, as it was found."""

    begun: Note
    content: dict[str, Any] | None  # of the checkpoint to go on from
    result: dict[str, Any] | None  # of a run that is complete
    anew: bool  # whether its configuration is new
    changed: Sequence[str] = ()  # the settings in which it differs from how it was begun


def open_run(folder: Path, now: Note, device: str, accept: Callable[[dict[str, Any], list[str]], None]) -> Opened:
    """Begin a run in a folder, or go on with the one in it, as `resume` in its configuration says.

    Args:
        now: what is asked for.
        device: on which it is to go on.
        accept: given the checkpoint and the changes, raises UserError where it cannot go on from there so changed.

    Raises:
        UserError: nothing to resume, or a run that must not be overwritten, or one that has changed.
    """
    config, begun, result = now.config, noted(folder), folder / "result.json"
    checkpoints = [path for name in (LAST, BEFORE) if (path := folder / "checkpoints" / name).exists()]
    if (config.get("resume") is None or begun is None) and (checkpoints or result.exists()):
        how = f"go on with it ({command(folder)}) or" if begun else f"it cannot go on without its {CONFIG};"
        raise UserError(f"{folder}: holds a run already: {how} choose another folder")
    if config.get("resume") is None or (begun is None and config["resume"] == "auto"):
        return Opened(_note(folder, now), None, None, True)
    if begun is None:
        raise UserError(f"resume={folder}: no run was begun there (it has no {CONFIG})")
    changed = _compare(folder, begun, now)
    if result.exists():
        if changed:
            raise UserError(f"{folder}: this run is complete and is not changed any more ({changed[0]}). To test its "
                            f"learner elsewhere: python -m metalearn.evaluate {quoted(folder)} ...; to train from its "
                            f"weights: init={quoted(folder)}")  # fmt: skip
        try:
            return Opened(begun, None, read_json(result), False)
        except ValueError as error:
            raise UserError(f"{result}: damaged; remove it, and the resumed run will test once more") from error
    _clear(folder)
    content = _last(checkpoints)
    if content:
        with checkpoint.restoring(folder / "checkpoints"):
            accept(content, changed)
    if changed:
        say(f"{folder}: going on with changes: {'; '.join(changed)}")
        begun = _note(folder, now._replace(identity=begun.identity, group=begun.group))
    say(f"{folder}: " + (f"going on from meta-step {content['step']}" if content else "no checkpoint yet: from step 0"))
    if content:
        for name, here in environment(device).items():
            if (before := content["state"].get(name, here)) != here:
                warn(f"{name}: {before} -> {here}; the last digits may differ")
    return Opened(begun, content, None, bool(changed), changed)


def _clear(folder: Path) -> None:
    """Remove what a process killed in the middle of a write has left behind."""
    for place in (folder, folder / "checkpoints"):
        for file in place.glob(".*"):
            if re.fullmatch(r"\..+\.(pt|csv|json)\.\w{8}|\..+\.pt\.link", file.name):
                file.unlink(missing_ok=True)


def _last(checkpoints: Sequence[Path]) -> dict[str, Any] | None:
    """The newest readable one; a damaged one is put aside and said."""
    for path in checkpoints:
        try:
            return checkpoint.read(path)
        except checkpoint.Damaged as error:
            aside = path.with_name(f"{path.stem}.damaged.pt")
            path.replace(aside)
            warn(f"{error}; it is now {aside.name}, going on from the checkpoint before it")
    if checkpoints:
        warn("no checkpoint can be read: beginning again from meta-step 0, which leads to the same result")
    return None


def environment(device: str) -> dict[str, str]:
    """What the last bits of a result depend on beside the configuration."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "processes": os.environ["WORLD_SIZE"] if parallel.torchrun() else "1",
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
            run = noted(folder)
        except UserError:
            continue
        if run is None or changes(run.config, plain(config)):
            continue
        if "${" in name and (folder / "result.json").exists():
            continue
        found.append(folder)
    if "${" not in name:
        return found[0] if found else None
    found.sort(key=lambda folder: (folder / CONFIG).stat().st_mtime_ns, reverse=True)
    return next(filter(lock.claim, found), None)


def command(folder: Path) -> str:
    """The command line that resumes a run, to be typed in the same folder."""
    begun = noted(folder)
    trusted = " trust=true" if trust.needed(begun.words if begun else ()) else ""
    return f"{program()}{_config_dir()} resume={quoted(folder)}{trusted}"


def _config_dir() -> str:
    """The option `--config-dir` as this process was given it: without it, the user's own choices would not be found."""
    from hydra._internal.utils import get_args_parser
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():  # called from Python
        return ""
    given = get_args_parser().parse_known_args(sys.argv[1:])[0].config_dir
    return f" --config-dir {shlex.quote(given)}" if given else ""


def program() -> str:
    """As it was called."""
    if parallel.torchrun():
        launcher = os.environ.get(parallel.LAUNCHER, "torchrun")
        return f"{launcher} --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']} -m metalearn.run"
    return "metalearn" if Path(sys.argv[0]).name == "metalearn" else "python -m metalearn.run"


def quoted(folder: Path) -> str:
    """A path as a value on the command line: for Hydra's grammar, and for the shell."""
    text = str(folder)
    plain = all(c.isalnum() or c in "/._-+%@" for c in text)
    return shlex.quote(text if plain else hydra_quoted(text))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    values: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return values


def _spell(value: Any) -> str:
    return "null" if value is None else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
