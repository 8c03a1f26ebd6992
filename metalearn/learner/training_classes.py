"""Training classes of a learner. Its checkpoint keeps digests of their names, so that a test on them is noticed."""

import hashlib
from collections.abc import Mapping
from typing import Any

from metalearn.data.base import TaskSource

ENTRY = "training_classes"  # in the spec of a learner
UNKNOWN = "unknown"


def digests(source: TaskSource) -> list[str] | None:
    """List the classes of a source as sorted digests of their names: 16 hex digits of SHA-256 each.

    Returns:
        An empty list in regression; None if the source does not name its classes.
    """
    if source.labels is None:
        return []
    return sorted({hashlib.sha256(name.encode()).hexdigest()[:16] for name in source.class_names}) or None


def of_spec(spec: Mapping[str, Any]) -> list[str] | None:
    """The training classes in a spec that may be damaged; None if they are unknown."""
    found = spec.get(ENTRY)
    return found if isinstance(found, list) and all(isinstance(entry, str) for entry in found) else None


def joined(first: list[str] | None, second: list[str] | None) -> list[str] | None:
    """The training classes of two trainings after each other; None if those of one are unknown."""
    return None if first is None or second is None else sorted({*first, *second})


def seen(spec: Mapping[str, Any], source: TaskSource) -> int | None:
    """Count the classes of a source that a learner was trained on, by name; None if that cannot be known."""
    learned, here = of_spec(spec), digests(source)
    return None if learned is None or here is None else len({*learned} & {*here})


def as_entry(count: int | None) -> int | str:
    """A count as an entry of result.json: `unknown` for None."""
    return UNKNOWN if count is None else count


def warning(count: int | None, part: str = "classes of these tasks") -> str | None:
    """Warn of a test on training classes, in one line; None if there is none.

    Args:
        count: from `seen`.
        part: the tested classes in words.
    """
    if count is None:
        return f"the training classes of these weights are unknown: the {part} may be among them"
    was = "was" if count == 1 else "were"
    return f"{count} of the {part} {was} in training: this is no test on new classes" if count else None
