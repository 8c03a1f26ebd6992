"""Tables for people: short names of settings, and numbers with four digits. Files keep everything."""

from collections.abc import Sequence
from typing import Any

_LARGE = 10_000  # from here on a number is shown without decimals


def headings(names: Sequence[str]) -> list[str]:
    """Return the shortest ends of dotted names by which they differ, such as `inner_optimizer.lr` and `inner_steps`."""
    return [_short(name, [other for other in names if other != name]) for name in names]


def _short(name: str, others: Sequence[str]) -> str:
    parts = name.split(".")
    ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    return next((end for end in ends if not any(other.endswith(end) for other in others)), name)


def value(of: Any) -> str:
    """Return a setting with at most four significant digits; empty for None."""
    if isinstance(of, float):
        return f"{of:.0f}" if abs(of) >= _LARGE else f"{of:.4g}"
    return "" if of is None else str(of)


def score(of: float) -> str:
    """Return a score with four significant digits, zeros included."""
    return f"{of:.0f}" if abs(of) >= _LARGE else f"{of:#.4g}"
