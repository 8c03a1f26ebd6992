"""The values that settings such as `device=auto` and `engine.chunk=null` stand for in a run.

A run that is resumed with such a value typed out, such as `device=cpu`, has not changed.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from metalearn.data import auto
from metalearn.lifecycle import manifest
from metalearn.lifecycle.manifest import RunManifest
from metalearn.lifecycle.setup import Setup
from metalearn.runtime.device import resolve_device
from metalearn.runtime.errors import UserError


def meaning(setup: Setup) -> dict[str, Any]:
    """Return the values in use, by the dotted names of the settings, for settings that may leave their value open."""
    how, data = setup.phase.execution(setup.device), dict(setup.config["data"])
    if "colour" in data:
        data["colour"] = "grey" if setup.dataset.shape[0] == 1 else "rgb"
    values = {
        "device": resolve_device(setup.settings.device),
        "data": auto.found(data, setup.dataset.name),
        "engine.kernel": how["kernel"],
        "engine.chunk": how["tasks_at_once"],
        "engine.recompute": setup.phase.algorithm.recomputes,
    }
    return manifest.json_values(values)


def meaning_without_setup(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of `meaning` that is known before anything is built."""
    with suppress(UserError):  # this machine has no such device
        return {"device": resolve_device(str(config["device"]))}
    return {}


def changes(run: RunManifest, config: Mapping[str, Any], meant: Mapping[str, Any]) -> list[str]:
    """List the settings in which a configuration differs from that of a run, as `name: old -> new`.

    Args:
        run: as it was started.
        config: of the present command, as JSON values.
        meant: the values in use, from `meaning`.
    """
    written = manifest.changes(run.config, config)
    if not written:
        return []
    before = dict(run.meaning)
    if meant.get("device") in meaning_without_setup(run.config).values():  # what the run would use here and now
        before["device"] = meant["device"]
    real = manifest.changes(_replaced(run.config, before), _replaced(config, meant))
    names = {change.partition(": ")[0] for change in real}
    return [change for change in written if change.partition(": ")[0] in names]


def _replaced(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with other values, by dotted names."""
    changed = dict(config)
    for name, value in values.items():
        group, _, last = name.rpartition(".")
        if not group:
            changed[name] = value
        elif isinstance(changed.get(group), Mapping):
            changed[group] = {**changed[group], last: value}
    return changed
