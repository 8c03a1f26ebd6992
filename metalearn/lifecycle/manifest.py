"""The manifest of a run: its configuration and command line, written as config.json before anything else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.runtime.errors import UserError
from metalearn.runtime.files import read_json, write_atomically

FILE = "config.json"
RESUME_ONLY = ("resume", "allow_changes", "profile", "trust")  # settings that are ignored when runs are compared


class RunManifest(NamedTuple):
    """The facts that decide whether a run can be resumed."""

    config: dict[str, Any]
    overrides: list[str] | None  # the command line without RESUME_ONLY; None for a run started from Python
    data: str  # name and fingerprint of the data set
    identity: str  # the run's ID for trackers
    group: str | None  # the sweep that it belongs to
    meaning: dict[str, Any]  # values in use of settings such as device=auto, see metalearn.lifecycle.meaning
    role: str | None = None  # in a search: `trial`, or `confirmation of ...`; their scores are not comparable


def write_manifest(folder: Path, manifest: RunManifest) -> RunManifest:
    """Write config.json and return the manifest."""
    write_atomically(folder / FILE, (json.dumps(manifest._asdict(), indent=2) + "\n").encode())
    return manifest


def read_manifest(folder: Path) -> RunManifest | None:
    """Read config.json; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        content = read_json(folder / FILE)
        overrides = content["overrides"]
        groups = content["config"], content["meaning"]
        if not all(isinstance(group, dict) for group in groups) or not isinstance(overrides, (list, type(None))):
            raise TypeError
        if not all(isinstance(value, str) for value in (*(overrides or ()), content["data"], content["identity"])):
            raise TypeError
        return RunManifest(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE}: damaged: this run cannot be resumed") from error


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the settings in which two configurations differ, as `name: old -> new`."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        if not prefix and name in (*RESUME_ONLY, "tracker", "paper"):  # they only show the run
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
_SAME_SCORES = ("steps", "control", "log_every", "eval.every", "eval.test_tasks", "test", "outer.",
                "algo.meta_batch", "engine.kernel", "engine.fused", "engine.inner_loop", "engine.chunk",
                "engine.recompute", "engine.cuda_graph")  # fmt: skip


def changes_scores(changed: Sequence[str]) -> bool:
    """True if scores measured before these changes are not comparable with scores measured after them."""
    return any(not change.startswith(_SAME_SCORES) for change in changed)


def json_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a configuration to the values that JSON gives back, to compare it with that of a config.json."""
    values: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return values


def _spell(value: Any) -> str:
    return "null" if value is None else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
