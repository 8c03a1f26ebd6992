"""Few-shot meta-learning: tasks, adaptation, meta-updates, and a complete record of every run."""

from typing import TYPE_CHECKING, Any

from metalearn.runtime.errors import refuse_foreign_files

if TYPE_CHECKING:
    from metalearn.config.compose import compose as compose
    from metalearn.learner.learner import load as load
    from metalearn.lifecycle.components import algorithm as algorithm
    from metalearn.lifecycle.components import dataset as dataset
    from metalearn.lifecycle.components import model as model
    from metalearn.lifecycle.launch import train as train
    from metalearn.runtime.errors import UserError as UserError

__version__ = "0.1.0"
_HOMES = {
    "UserError": "runtime.errors",
    "algorithm": "lifecycle.components",
    "compose": "config.compose",
    "dataset": "lifecycle.components",
    "load": "learner.learner",
    "model": "lifecycle.components",
    "train": "lifecycle.launch",
}
__all__ = ["UserError", "__version__", "algorithm", "compose", "dataset", "load", "model", "train"]


def __getattr__(name: str) -> Any:
    """Import a public name on demand: torch takes seconds, and `--help` should not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'metalearn' has no attribute {name!r}")
    refuse_foreign_files()
    import importlib

    return getattr(importlib.import_module(f"metalearn.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
