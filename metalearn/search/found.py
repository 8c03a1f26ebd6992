"""The winner of a search as a file of conf/experiment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from metalearn.config.groups import is_group
from metalearn.search.spelling import read

EXPERIMENT = "found"  # its name, as a choice of experiment=


def experiment(words: Sequence[str], comment: str) -> str:
    """Return the file that selects what these words of the command line select.

    Args:
        words: of the command line; deletions are left out, since no file can have them (see `deletions`).
        comment: its first line.
    """
    base: list[str] = []
    added: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for word in words:
        override = read(word)
        name, value = override.key_or_group, override.value()
        if override.is_delete():
            continue
        if name == "experiment":
            base = [f"/experiment@_global_: {value}"]  # a group, so that its own parts are found
        elif is_group(name) and not isinstance(value, dict):
            (added if override.is_add() else groups)[name] = value
        else:
            values[name] = value
    defaults = [*base, *(f"/{name}: {_yaml(value)}" for name, value in added.items()), "_self_",
                *(f"override /{name}: {_yaml(value)}" for name, value in groups.items())]  # fmt: skip
    lines = ["# @package _global_", f"# {comment}"]
    if len(defaults) > 1:
        lines += ["defaults:", *(f"  - {entry}" for entry in defaults)]
    node = _nested(values)
    return "\n".join(lines) + "\n" + (OmegaConf.to_yaml(OmegaConf.create(node)) if node else "")


def deletions(words: Sequence[str]) -> list[str]:
    """Return the words that delete a setting, such as `~control.cycle.Save`."""
    return [word for word in words if read(word).is_delete()]


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted names as nested mappings."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        place = found
        *parents, last = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found
