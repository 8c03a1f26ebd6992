"""Refuse what cannot fit into memory, before computing with it."""

import os
from pathlib import Path

from metalearn.errors import UserError


def require(needed: int, setting: str) -> None:
    """Refuse a setting that needs more memory than the machine has.

    Args:
        needed: bytes, at least.
        setting: as the user wrote it, `algo.meta_batch=100000000`.

    Raises:
        UserError: it cannot fit.
    """
    if needed > (most := total()):
        raise UserError(f"{setting}: needs at least {_spell(needed)} of memory, and this machine has {_spell(most)}")


def total() -> int:
    """The memory of this machine in bytes, or of the container that the process runs in; 2**63 where unknown."""
    limits = [2**63]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows
        pass
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no limit: no such file, or the word `max`
            continue
    return min(limits)


def _spell(size: int) -> str:
    return f"{size / 2**30:,.3g} GB" if size < 2**50 else "more than a million GB"
