"""The facts of a study, what it searches and how, compared with the command that resumes it."""

import json
from collections.abc import Mapping
from typing import Any

TOTAL = "number of trials"  # the entry that may grow
COMPETE = "compete"


def changes(earlier: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """Return the differences that keep a study from being resumed, such as `sampler: random -> tpe`.

    The number of trials may grow: no sampler draws by it. Competing models are an exception, whose brackets divide it.

    Args:
        earlier: facts with which the study was begun, as JSON values.
        spec: those of the present command.
    """
    present = json.loads(json.dumps(spec))
    found = []
    for name in sorted({*earlier, *present}):
        before, now = earlier.get(name), present.get(name)
        if before == now or (name == TOTAL and extends(earlier, present)):
            continue
        found.append(f"{name}: {_difference(before, now)}{_why(earlier, present) if name == TOTAL else ''}")
    return found


def extends(earlier: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """True if a command asks for more trials than an earlier one, of a study that can have more."""
    before, now = earlier.get(TOTAL), spec.get(TOTAL)
    return isinstance(before, int) and isinstance(now, int) and now > before and spec.get(COMPETE, "none") == "none"


def _why(earlier: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    if present.get(COMPETE, "none") != "none":
        return ", which search.compete divides into brackets: for more trials begin a new study"
    return ", which can only grow" if earlier.get(TOTAL) is not None else ""


def _difference(before: Any, now: Any) -> str:
    """Write two values, of long ones only the parts that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
        return ", ".join(f"{name}: {_shown(before.get(name))} -> {_shown(now.get(name))}" for name in names)
    if isinstance(before, list) and isinstance(now, list):
        before, now = [e for e in before if e not in now], [e for e in now if e not in before]
    return f"{_shown(before)} -> {_shown(now)}"


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return value if isinstance(value, str) else json.dumps(value)
