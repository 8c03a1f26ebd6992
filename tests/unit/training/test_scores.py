"""Scores of a run: both batch-norm modes, every task, and outputs that are not finite."""

import json
import math

import pytest
import torch

import metalearn
from metalearn.lifecycle.launch import train
from metalearn.recording.intervals import interval
from metalearn.training.evaluate import evaluate
from tests.helpers.configs import config
from tests.helpers.tasks import algorithm

WORDS = (
    "data=glyphs",
    "data.classes=[20,8,8]",
    "model.filters=4",
    "steps=4",
    "eval.every=2",
    "eval.tasks=5",
    "eval.test_tasks=7",
    "eval.query=3",
)


@pytest.fixture
def result(tmp_path):
    train(config(*WORDS), tmp_path / "run")
    return json.loads((tmp_path / "run" / "result.json").read_text())


def test_the_record_has_the_score_of_every_test_task(result):
    assert len(result["test_scores"]) == 7 == len(result["test_scores_support"])
    assert result["test_accuracy"] == pytest.approx(sum(result["test_scores"]) / 7)
    assert result["test_ci95"] == pytest.approx(interval(result["test_scores"]))
    assert len(result["adaptation_ci95"]) == len(result["adaptation_curve"]) == result["inner_steps_test"] + 1


def test_the_score_with_support_statistics_is_that_of_the_learner_that_is_loaded(result, tmp_path, small_glyphs):
    from metalearn.config.instantiate import build
    from metalearn.data import Dataset

    learner = metalearn.load(tmp_path / "run")
    source = build(config(*WORDS)["data"], "data", Dataset).source("test", 0, "cpu")
    batch = source.tasks(torch.arange(7), 5, 1, 3)
    for task, expected in enumerate(result["test_scores_support"]):
        classifier = learner.adapt(batch.support_x[task], batch.support_y[task])
        right = [
            a == b for a, b in zip(classifier.predict(batch.query_x[task]), batch.query_y[task].tolist(), strict=True)
        ]
        assert sum(right) / len(right) == pytest.approx(expected)
    assert result["test_accuracy_support"] == pytest.approx(sum(result["test_scores_support"]) / 7)
    assert result["test_scores_support"] != result["test_scores"]


def test_outputs_that_are_not_finite_score_zero_and_are_counted(small_glyphs):
    algo = algorithm("maml", shape=(1, 28, 28), inner_optimizer={"name": "SGD", "lr": 1e30})
    params = algo.init()
    score = evaluate(algo, params, small_glyphs.source("test", 0, "cpu"), tasks=4, way=3, shot=2, query=2, device="cpu")
    assert score.nonfinite == 4 and score.mean == 0.0 and not math.isfinite(score.loss)


def test_a_learner_that_diverges_at_evaluation_is_never_the_best(tmp_path, capfd):
    words = ("algo.inner_optimizer.lr=1e30", "algo.inner_steps=0", "algo.inner_steps_test=2")
    with pytest.raises(metalearn.runtime.errors.UserError, match="no measurement gave a number"):
        train(config(*WORDS, *words), tmp_path / "run")
    out = capfd.readouterr().out
    assert "5 of 5 validation tasks have non-finite outputs" in out
