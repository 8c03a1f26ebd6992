"""Configurations of small runs, and the choices in conf/."""

from pathlib import Path

from metalearn.config import compose
from metalearn.config.compose import CONF

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("data=glyphs", "data.classes=[20,8,8]", "model.filters=8", "steps=3", "eval.every=2", "eval.tasks=4",
         "eval.test_tasks=6", "eval.query=2", "algo.inner_steps_test=2", "log_every=1")  # fmt: skip
SINUSOID = ("data=sinusoid", "steps=20", "log_every=3", "eval.every=5", "eval.tasks=10", "eval.test_tasks=10",
            "algo.meta_batch=2", "model.hidden=[8]")  # fmt: skip
GLYPHS = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=2", "steps=8", "log_every=3", "eval.every=5", "way=3",
          "eval.tasks=4", "eval.test_tasks=4", "eval.query=2", "algo.meta_batch=2")  # fmt: skip
WORDS = (*(w for w in QUICK if not w.startswith(("steps", "eval.every", "log_every"))), "steps=120", "eval.every=20",
         "log_every=8", "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}")  # fmt: skip


def choices(group: str) -> str:
    return ", ".join(compose.choices(group))


def config(*overrides: str) -> dict:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        node = compose("config", overrides=["eval.every=20", "eval.tasks=8", "eval.test_tasks=20", "eval.query=3",
                                            *overrides])  # fmt: skip
    return OmegaConf.to_container(node, resolve=True)
