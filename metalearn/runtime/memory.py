"""Memory of this machine, and a check that a setting fits into it."""

import os
from pathlib import Path

from metalearn.runtime.errors import UserError


def require(needed: int, setting: str) -> None:
    """Check that a setting fits into the memory of this machine.

    Args:
        needed: lower limit of the memory that it needs, in bytes.
        setting: the setting as the user wrote it, such as `algo.meta_batch=100000000`.

    Raises:
        UserError: it does not fit.
    """
    if needed > (most := total()):
        raise UserError(f"{setting}: needs at least {_spell(needed)} of memory, and this machine has {_spell(most)}")


def total() -> int:
    """Return the memory of this machine, or of the container of this process, in bytes; 2**63 if unknown."""
    limits = [2**63]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        pass
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such file, or `max`: there is no limit
            continue
    return min(limits)


def _spell(size: int) -> str:
    return f"{size / 2**30:,.3g} GB" if size < 2**50 else "more than a million GB"
