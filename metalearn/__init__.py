"""Few-shot meta-learning: tasks, adaptation, meta-updates, and a complete record of every run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metalearn.learner import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imported on demand: torch takes seconds, and `--help` should not wait for it
        from metalearn.learner import load

        return load
    raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
