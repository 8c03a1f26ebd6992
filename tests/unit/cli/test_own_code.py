"""Mistakes in the user's own code: one line that names what is wrong, with the line of the code."""

import json

import pytest

from metalearn.lifecycle.launch import train
from metalearn.runtime import console
from tests.helpers.configs import GLYPHS, SINUSOID, config
from tests.helpers.processes import refused


@pytest.mark.slow
def test_the_usual_name_of_a_run(typed, tmp_path):
    assert typed(*GLYPHS, "test=false").returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("_maml_glyphs_seed0")


def test_a_mistake_found_late_leaves_no_folder(typed, tmp_path):
    (tmp_path / "own.py").write_text(
        "from metalearn.algorithms.maml import MAML\nfrom metalearn.runtime.errors import UserError\n\n\nclass Late(MAML):\n"
        "    def task_gradients(self, params, batch):\n        raise UserError('late')\n"
    )
    refused(typed(*GLYPHS, "algo._target_=own.Late"), "late")
    assert not list((tmp_path / "runs").iterdir())
    assert typed(*GLYPHS, "algo._target_=own.Late", "hydra.run.dir=named").returncode == 2
    assert (tmp_path / "named" / "config.json").exists()  # the user chose it


@pytest.mark.slow
@pytest.mark.parametrize(("source", "message"), [
    ("class Own(:\n", "own.Own: cannot be imported (SyntaxError: "),
    ("import nothing_like_this\n", "own.Own: cannot be imported (ModuleNotFoundError: No module named 'nothing_like_this' (own.py:1)"),
    ("x = 1 / 0\n", "own.Own: cannot be imported (ZeroDivisionError: division by zero (own.py:1)"),
    ("x = 1\n", "own.Own: cannot be imported (module 'own' has no attribute 'Own')")])  # fmt: skip
def test_a_module_that_cannot_be_imported(source, message, typed, tmp_path):
    (tmp_path / "own.py").write_text(source)
    refused(typed(*GLYPHS, "algo._target_=own.Own"), message)


def test_an_error_in_training_ends_with_its_line(typed, tmp_path):
    (tmp_path / "own.py").write_text(
        "from metalearn.algorithms.maml import MAML\n\n\nclass Late(MAML):\n"
        "    def is_adapted(self, name):\n        return name in self.nothing\n"
    )
    done = typed(*GLYPHS, "algo._target_=own.Late")
    assert done.returncode == 1 and "hydra" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "metalearn: AttributeError: 'Late' object has no attribute 'nothing' (own.py:6)"
    )


def test_all_missing_settings_are_named_at_once(typed, tmp_path):
    (tmp_path / "own.py").write_text("from metalearn.algorithms.maml import MAML\n\n\nclass Mine(MAML):\n    pass\n")
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("_target_: own.Mine\ninner_steps: 2\n")
    done = typed(*GLYPHS[:-1], "algo=mine", "steps=2", "--config-dir", "conf")
    refused(done, "algo.meta_batch, algo.inner_steps_test: values are needed for Mine")


def test_a_file_that_is_not_yaml_and_one_without_a_target_are_named(typed, tmp_path):
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    mine = tmp_path / "conf" / "algo" / "mine.yaml"
    mine.write_text("_target_: [unclosed\n  x: 1\n")
    refused(typed(*GLYPHS[:-1], "algo=mine", "--config-dir", "conf"), "mine.yaml, line 2: is not YAML (")
    mine.write_text("inner_steps: 2\n")
    done = typed(*GLYPHS[:-1], "algo=mine", "--config-dir", "conf")
    refused(done, "algo: its settings (inner_steps) need a _target_, the path of a class")


def test_the_log_of_a_run_keeps_its_warnings(tmp_path):
    train(config(*SINUSOID), tmp_path / "run")
    with console.copied(tmp_path / "run" / "log.txt"):
        console.warn("of mine")
    console.warn("outside")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert any("MAML with MLP on sinusoid" in line for line in lines)
    assert lines[-1].endswith("WARNING: of mine") and json.loads((tmp_path / "run" / "result.json").read_text())
