"""Installed packages, a wheel and an editable one: complete, and usable from any folder."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.helpers.configs import QUICK, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.integration]

OTHERS = next(path for path in sys.path if path.endswith("site-packages"))  # what metalearn needs


class Installed:
    """An environment with an installed metalearn, which sees the packages of this one, but not the clone."""

    def __init__(self, folder: Path, kind: str):
        self.folder = folder
        venv.create(folder / "env", with_pip=False)
        self.site = next((folder / "env").glob("lib/python*/site-packages"))
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")  # nothing is downloaded
        if kind == "wheel":
            self.python("-m", "pip", "wheel", *options, "--wheel-dir", folder, ROOT)
            (wheel,) = folder.glob("*.whl")
            self.python("-m", "pip", "install", *options, "--ignore-installed", wheel)
        else:
            self.python("-m", "pip", "install", *options, "--ignore-installed", "--editable", ROOT)
        self.home = self.site if kind == "wheel" else ROOT

    def python(self, *words: str | Path) -> str:
        """Run Python in an empty folder; return what it prints."""
        place = self.folder / "work"
        place.mkdir(exist_ok=True)
        environment = {
            "PYTHONPATH": OTHERS,
            "OMP_NUM_THREADS": "1",
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
        }
        done = subprocess.run([self.folder / "env" / "bin" / "python", *words], cwd=place, env=environment,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp(request.param), request.param)


def test_an_installed_package_runs_from_another_folder(installed):
    installed.python("-m", "metalearn.run", *QUICK, "hydra.run.dir=out")
    result = json.loads((installed.folder / "work" / "out" / "result.json").read_text())
    assert (result["git_commit"] is None) == (installed.home != ROOT)


def test_hydra_finds_the_sweeper_of_an_installed_package(installed):
    found = installed.python("-c", "import metalearn, hydra_plugins.metalearn_search.sweeper as sweeper\n"
                             "from hydra.core.plugins import Plugins\nfrom hydra.plugins.sweeper import Sweeper\n"
                             "print(metalearn.__file__, sweeper.__file__, sep='\\n')\n"
                             "print(*(kind.__name__ for kind in Plugins.instance().discover(Sweeper)), sep='\\n')")  # fmt: skip
    package, sweeper, *sweepers = found.split()
    assert Path(package) == installed.home / "metalearn" / "__init__.py"
    assert Path(sweeper) == installed.home / "hydra_plugins" / "metalearn_search" / "sweeper.py"
    assert "SearchSweeper" in sweepers
    out = installed.python("-m", "metalearn.run", "-m", "search=random", *QUICK, "algo.inner_steps=range(1, 4)",
                           "search.trials=2", "search.confirm=0", "pictures=none", "hydra.sweep.dir=study")  # fmt: skip
    assert "the search ended: all 2 trials are done" in out
    assert len((installed.folder / "work" / "study" / "trials.csv").read_text().splitlines()) == 3
