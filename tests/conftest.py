"""What the tests share: small data of every kind, and the real Omniglot where it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metalearn.algorithms.base import Algorithm
from metalearn.config.instantiate import build
from metalearn.data import glyphs
from metalearn.data.base import TaskBatch
from metalearn.models.base import MetaModel

ROOT = Path(__file__).resolve().parent.parent
os.environ["WANDB_MODE"] = "offline"


@pytest.fixture(scope="session")
def small_glyphs():
    return glyphs.load(classes=[30, 12, 12], split_seed=0, rotate_train=True, rotate_test=True)


@pytest.fixture(scope="session")
def omniglot_root():
    """The data root of the machine: METALEARN_DATA, data/ or ../shared/data, where Omniglot lies there."""
    from metalearn.data.omniglot_files import find

    for place in (os.environ.get("METALEARN_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if place and find(Path(place)):
            return str(Path(place).resolve())
    pytest.skip("no Omniglot on this machine")


@pytest.fixture
def run(tmp_path):
    """`python -m metalearn.run` as a user types it, in an empty folder and without a network."""

    def call(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
        environ = {**os.environ, "METALEARN_DATA": str(tmp_path / "no-data"), "COLUMNS": "200", **environment}
        return subprocess.run(
            [sys.executable, "-m", "metalearn.run", *words], cwd=cwd or tmp_path, env=environ, text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip

    return call


@pytest.fixture(scope="session")
def typist(tmp_path_factory):
    from tests.typed import Typist

    typist = Typist(tmp_path_factory.mktemp("typed"))
    yield typist
    typist.close()


@pytest.fixture
def typed(typist, tmp_path):
    """As `run`, without waiting for the imports."""

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess:
        return typist(*words, cwd=tmp_path, METALEARN_DATA=str(tmp_path / "no-data"), COLUMNS="200",
                      XDG_CACHE_HOME=str(tmp_path / "cache"), **environment)  # fmt: skip

    return call


QUICK = ("data=glyphs", "data.classes=[20,8,8]", "model.filters=8", "steps=3", "eval.every=2", "eval.tasks=4",
         "eval.test_tasks=6", "eval.query=2", "algo.inner_steps_test=2", "log_every=1")  # fmt: skip


def algorithm(name: str, *, seed: int = 0, filters: int = 4, shape=(1, 12, 12), way=3, shot=2, query=2,
              norm="transductive", labels: int | None = 12, regression=False, **settings) -> Algorithm:  # fmt: skip
    """An algorithm with the settings of its YAML, on a small Conv4 whose head is not at zero."""
    import yaml

    node = yaml.safe_load((ROOT / "conf" / "algo" / f"{name}.yaml").read_text())["algo"]
    torch.manual_seed(seed)
    conv4 = {"_target_": "metalearn.models.conv4.Conv4", "filters": filters, "halving": "stride", "readout": "flatten"}
    mlp = {"_target_": "metalearn.models.mlp.MLP", "hidden": [8, 8]}
    model = build(mlp if regression else conv4, "model", MetaModel, shape=shape, outputs=1 if regression else way)
    torch.nn.init.normal_(model.head.weight, std=0.3)  # at zero, second derivatives would vanish
    given = {"way": way, "shot": shot, "query": query, "norm": norm, "labels": labels, "regression": regression}
    return build({**node, **settings}, "algo", Algorithm, model=model, **given)


def meta_of(algorithm: Algorithm, dtype=torch.float64):
    """Its initial meta-parameters, in double precision for exact comparisons."""
    return {name: value.to(dtype) for name, value in algorithm.init().items()}


def batch_of(tasks=3, way=3, shot=2, query=2, shape=(1, 12, 12), seed=0, dtype=torch.float64) -> TaskBatch:
    """Random tasks."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(way)
    return TaskBatch(
        torch.rand(tasks, way * shot, *shape, generator=g, dtype=dtype),
        labels.repeat_interleave(shot).expand(tasks, -1),
        torch.rand(tasks, way * query, *shape, generator=g, dtype=dtype),
        labels.repeat_interleave(query).expand(tasks, -1),
        torch.arange(tasks),
    )


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than all the rest."""
    monkeypatch.setattr("metalearn.lifecycle.final_test.pictures", lambda *a: {})


@pytest.fixture
def stopped(tmp_path, monkeypatch, no_pictures):
    """A run stopped after 12 of 20 meta-steps, in the middle of a cycle and of a row."""
    from tests.resuming import stop

    stop(tmp_path / "run", monkeypatch)
    return tmp_path / "run"


def refused(done, message, status=2):
    """Check that a command ended in one line that says this, with this exit status."""
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("metalearn: ") and message in lines[0], done.stderr


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
