"""Configurations of small runs, and the choices in conf/."""

from pathlib import Path

import pytest

from metalearn.config import compose, groups

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("data=glyphs", "data.classes=[20,8,8]", "model.filters=8", "steps=3", "eval.every=2", "eval.tasks=4",
         "eval.test_tasks=6", "eval.query=2", "algo.inner_steps_test=2", "log_every=1")  # fmt: skip
SINUSOID = (
    "data=sinusoid",
    "steps=20",
    "log_every=3",
    "eval.every=5",
    "eval.tasks=10",
    "eval.test_tasks=10",
    "algo.meta_batch=2",
    "model.hidden=[8]",
)
# A rate that falls at every measurement
PLATEAU = "outer.schedule={name: ReduceLROnPlateau, factor: 0.5, patience: 0, threshold: 1.0}"
GLYPHS = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=2", "steps=8", "log_every=3", "eval.every=5", "way=3",
          "eval.tasks=4", "eval.test_tasks=4", "eval.query=2", "algo.meta_batch=2")  # fmt: skip
WORDS = (*(w for w in QUICK if not w.startswith(("steps", "eval.every", "log_every"))), "steps=120", "eval.every=20",
         "log_every=8", "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}")  # fmt: skip


ALGORITHMS = groups.choices("algo")
SMALL = {"reptile": {"train_shot": 4}}  # what an algorithm needs to be trained on small data, where it needs something


NO_HIGHER = {"metasgd": "it learns the rates of its own optimizer"}  # why engine.inner_loop=higher is refused


def node_of(name: str) -> dict:
    """The file of an algorithm in conf/algo."""
    import yaml

    return yaml.safe_load((ROOT / "conf" / "algo" / f"{name}.yaml").read_text())


def inner_steps(name: str, steps: int) -> int:
    """This number of inner steps in training, or 0 for an algorithm whose file says 0."""
    return steps if node_of(name)["inner_steps"] else 0


def of_each_kind() -> list[str]:
    """One algorithm of conf/algo for each way to compute a meta-gradient."""
    import pydoc

    kinds: dict = {}
    for name in ALGORITHMS:
        kinds.setdefault(pydoc.locate(node_of(name)["_target_"]).task_gradients, name)
    return list(kinds.values())


def every(n: int, values, rows: bool = False) -> list:
    """The values of a long table, of which every n-th is tested by default and all by make test-all.

    With `rows`, each value is a tuple of several arguments.
    """
    marks = [[] if i % n == 0 else pytest.mark.slow for i in range(len(values))]
    return [pytest.param(*(v if rows else (v,)), marks=mark) for v, mark in zip(values, marks, strict=True)]


def small(name: str) -> list[str]:
    """The words of the command line that choose an algorithm for small data."""
    return [f"algo={name}", *(f"algo.{key}={value}" for key, value in SMALL.get(name, {}).items())]


def choices(group: str) -> str:
    return ", ".join(groups.choices(group))


def config(*overrides: str) -> dict:
    return compose.compose("eval.every=20", "eval.tasks=8", "eval.test_tasks=20", "eval.query=3", *overrides)
