"""A function of the user that raises ends the run in one line, and loses nothing."""

import pytest

from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import Unfinished
from tests.helpers.configs import SINUSOID, config, every
from tests.helpers.resuming import same

RAISES = True


def raises(run):
    if RAISES and run.step >= 10:
        raise ZeroDivisionError("of my\nown")


@pytest.mark.parametrize("control", every(3, ["Callback: {f: %s}", "Info: {f: %s}", "Warn: {predicate: %s}"]))
def test_a_callback_that_raises(control, tmp_path, monkeypatch):
    words = [
        *SINUSOID,
        "+control.cycle.{}={}".format(*(control % "tests.unit.controls.test_callbacks.raises").split(": ", 1)),
    ]
    with pytest.raises(
        Unfinished, match=r"test_callbacks\.raises raised ZeroDivisionError: of my own \(.*\.py:\d+\)"
    ) as end:
        train(config(*words), tmp_path / "run")
    assert "\n" not in str(end.value) and "resume=" in str(end.value) and end.value.status == 1
    assert checkpoint.read(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == 10
    monkeypatch.setattr("tests.unit.controls.test_callbacks.RAISES", False)
    train(config(*words, f"resume={tmp_path / 'run'}"), tmp_path / "run")
    train(config(*words), tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "run")


STEPS = []


def remember(learner):
    STEPS.append((learner.step, repr(learner)))


def test_the_learner_of_a_control_knows_its_meta_steps(tmp_path):
    STEPS.clear()
    train(config(*SINUSOID, "+control.cycle.WithModel.f=tests.unit.controls.test_callbacks.remember"), tmp_path)
    assert [step for step, _ in STEPS] == [5, 10, 15, 20] and "20 meta-steps" in STEPS[-1][1]
