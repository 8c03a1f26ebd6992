"""The code is linted, formatted and typed; nothing is named that belongs to one machine."""

import re
import subprocess
import sys

import pytest

from tests.helpers.configs import ROOT

TYPES = pytest.param(("mypy",), marks=pytest.mark.slow)  # a minute in a fresh clone


@pytest.mark.parametrize("words", [("ruff", "check", "."), ("ruff", "format", "--check", "."), TYPES])
def test_static_checks(words):
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_heavy_packages_are_imported_only_where_used():
    """`--help` waits for nothing; hydra is known to the command line alone."""
    code = (
        "import sys, metalearn, metalearn.run; print(sorted({'torch', 'hydra', 'wandb', 'higher'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, metalearn.lifecycle.launch, metalearn.learner.learner; print(sorted({'hydra', 'wandb', 'higher', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_path_of_one_machine():
    pattern = re.compile(r"/(home|work|Users|root)/\w")
    folders = ("metalearn", "hydra_plugins", "conf", "tests", "experiments", "docs")
    files = [*ROOT.glob("*.*"), *(file for folder in folders for file in (ROOT / folder).rglob("*"))]
    for file in files:
        own = file == ROOT / "tests" / "docs" / "test_style.py"
        if file.suffix in {".py", ".yaml", ".md", ".toml", ".csv", ".json"} and not own:
            assert not pattern.search(file.read_text()), file.relative_to(ROOT)
