"""Configurations of small runs, and the choices in conf/."""

from pathlib import Path

from metalearn.config import compose

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
GLYPHS = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=2", "steps=8", "log_every=3", "eval.every=5", "way=3",
          "eval.tasks=4", "eval.test_tasks=4", "eval.query=2", "algo.meta_batch=2")  # fmt: skip
WORDS = (*(w for w in QUICK if not w.startswith(("steps", "eval.every", "log_every"))), "steps=120", "eval.every=20",
         "log_every=8", "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}")  # fmt: skip


ALGORITHMS = compose.choices("algo")
SMALL = {"reptile": {"train_shot": 4}}  # what an algorithm needs to be trained on small data, where it needs something


def small(name: str) -> list[str]:
    """The words of the command line that choose an algorithm for small data."""
    return [f"algo={name}", *(f"algo.{key}={value}" for key, value in SMALL.get(name, {}).items())]


def choices(group: str) -> str:
    return ", ".join(compose.choices(group))


def config(*overrides: str) -> dict:
    return compose.compose("eval.every=20", "eval.tasks=8", "eval.test_tasks=20", "eval.query=3", *overrides)
