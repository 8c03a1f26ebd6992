"""What the tests share: small data of every kind, and the real Omniglot where it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metalearn.data import glyphs
from tests.helpers.configs import ROOT

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
            [sys.executable, "-m", "metalearn.run", *words],
            cwd=cwd or tmp_path,
            env=environ,
            text=True,
            capture_output=True,
            timeout=600,
        )

    return call


@pytest.fixture(scope="session")
def typist(tmp_path_factory):
    from tests.helpers.processes import Typist

    typist = Typist(tmp_path_factory.mktemp("typed"))
    yield typist
    typist.close()


@pytest.fixture
def typed(typist, tmp_path):
    """As `run`, without waiting for the imports, and for pictures only with `pictures=True`."""

    def call(*words: str, **environment: str) -> subprocess.CompletedProcess:
        environment = {"METALEARN_DATA": str(tmp_path / "no-data"), "COLUMNS": "200",
                       "XDG_CACHE_HOME": str(tmp_path / "cache"), **environment}  # fmt: skip
        return typist(*words, cwd=tmp_path, **environment)

    return call


@pytest.fixture(scope="session", autouse=True)
def draw():
    """No run draws its pictures, which take longer than all the rest; returns the function that would."""
    from metalearn.lifecycle import final_test

    real = final_test.pictures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_test, "pictures", lambda *a: {})
        yield real


@pytest.fixture
def pictures(draw, monkeypatch):
    """The runs of this test draw their pictures."""
    monkeypatch.setattr("metalearn.lifecycle.final_test.pictures", draw)


@pytest.fixture(scope="session")
def stopped_once(tmp_path_factory, draw):
    from tests.helpers.resuming import stop

    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop(folder, patch)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A run stopped after 12 of 20 meta-steps, in the middle of a cycle and of a row."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
