"""The package as it is installed: its version, its licence, and no foreign files in its folder."""

import shutil
import subprocess
import sys

import pytest

import metalearn
from metalearn.runtime.errors import refuse_foreign_files
from tests.helpers.configs import ROOT


@pytest.fixture
def clash(tmp_path):
    """A copy of the package into which parallel-metalearn was installed as well."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "metalearn", tmp_path / "metalearn", ignore=ignored)
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=ignored)
    (tmp_path / "metalearn" / "nn_models").mkdir()
    return tmp_path


def test_a_public_name_of_a_mixed_package_is_refused(clash):
    done = subprocess.run(
        [sys.executable, "-c", "import metalearn; metalearn.load"],
        cwd=clash,
        capture_output=True,
        env={"PYTHONPATH": str(clash)},
        text=True,
    )
    assert "ImportError" in (last := done.stderr.splitlines()[-1]) and "parallel-metalearn (nn_models/)" in last


@pytest.mark.parametrize("theirs", [False, True])
def test_files_of_parallel_metalearn_are_named_in_one_line(clash, theirs):
    """Whichever of the two distributions was installed last, and so has the __init__.py."""
    if theirs:
        (clash / "metalearn" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "metalearn.run", "algo=maml"],
        cwd=clash,
        capture_output=True,
        env={"PYTHONPATH": str(clash)},
        text=True,
    )
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "parallel-metalearn (nn_models/)" in done.stderr and "pip uninstall" in done.stderr


def test_the_package_alone_is_accepted(tmp_path):
    refuse_foreign_files()
    refuse_foreign_files(tmp_path)


def test_the_version_is_written_once():
    files = [*ROOT.glob("metalearn/**/*.py"), ROOT / "pyproject.toml"]
    assert sum(f'"{metalearn.__version__}"' in file.read_text() for file in files) == 1
    assert f"version: {metalearn.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_licence_and_types_are_shipped():
    assert "the metalearn authors" in (ROOT / "LICENSE").read_text()
    assert (ROOT / "metalearn" / "py.typed").exists()
