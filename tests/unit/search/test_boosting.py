"""The example with scikit-learn: the controls and samplers serve any iterated model."""

import runpy
import sys

import pytest

from tests.helpers.configs import ROOT


@pytest.fixture(scope="module")
def boosting():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; it is in the extra `test`")
    return runpy.run_path(str(ROOT / "experiments" / "search" / "boosting.py"))


@pytest.mark.slow
def test_the_example_prints_the_defaults_and_what_each_sampler_found(boosting, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["boosting.py", "--trials", "3", "--trees", "20"])
    boosting["main"]()
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    rows = {words[0]: words for words in lines if words[0] in ("defaults", *boosting["SAMPLERS"])}
    assert list(rows) == ["defaults", "grid", "random", "tpe", "policy_gradient"]
    for words in rows.values():
        assert 0 < float(words[1]) < 0.7 and 0 < float(words[2]) < 0.7 and int(words[3]) in (10, 20)
    assert "learning_rate=0.05" in rows["grid"]


@pytest.mark.slow
def test_a_control_ends_a_booster_early(boosting):
    """A high rate overfits at once: five measurements after the best, the loop ends."""
    loop = boosting["train"](300, {"learning_rate": 1.0})
    assert loop.step < 300 and loop.step - 10 * (loop.losses.index(min(loop.losses)) + 1) == 50


@pytest.mark.slow
def test_a_study_of_boosters_keeps_what_they_reported(boosting):
    study = boosting["search"]("random", 2, 30)
    for trial in study.records():
        assert sorted(trial.intermediate_values) == [10, 20, 30]
        assert trial.value == pytest.approx(min(trial.intermediate_values.values()))
        assert min(boosting["train"](30, trial.params).losses) == pytest.approx(trial.value)
