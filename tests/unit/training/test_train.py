"""Training: the same seed gives the same bits; it learns; what it writes is true."""

import csv
import json

import pytest
import torch

from metalearn.algorithms.parameters import MetaParameters
from metalearn.data import Dataset
from metalearn.lifecycle.launch import train
from metalearn.recording.intervals import student_t
from metalearn.training.evaluate import evaluate
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.configs import ALGORITHMS, config, every, of_each_kind, small
from tests.helpers.tasks import algorithm
from tests.helpers.training import trainer_of

SMALL = ("data=glyphs", "data.classes=[40,10,10]", "model.filters=8", "log_every=2")


MODES = ["transductive", "support", "per_step"]
FAST = [name for name in of_each_kind() if name != "reptile"]
GENTLE = {"inner_optimizer": {"name": "SGD", "lr": 0.1}}
LEARNS = {"fomaml": GENTLE, "reptile": {**GENTLE, "inner_steps": 3, "inner_steps_test": 5}}  # in 60 meta-steps
OUTER = {"reptile": {"name": "SGD", "lr": 1.0}}


def run(folder, *words):
    value = train(config(*SMALL, *words), folder).score
    return value, json.loads((folder / "result.json").read_text())


def weights(folder, name="last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)["params"]


@pytest.mark.parametrize("name", every(9, of_each_kind()))
def test_same_seed_same_bits(tmp_path, name):
    words = (*small(name), "steps=6", "eval.every=3")
    (a, first), (b, second) = run(tmp_path / "a", *words), run(tmp_path / "b", *words)
    for key in ("test_accuracy", "test_ci95", "val_accuracy", "adaptation_curve", "pixel_nearest_neighbour"):
        assert first[key] == second[key]
    assert a == b
    ours, theirs = (MetaParameters.of(weights(tmp_path / x)).tensors() for x in "ab")
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
    timing = {"tasks_per_second", "train_seconds"}
    rows = [
        [
            {k: v for k, v in row.items() if k not in timing}
            for row in csv.DictReader(open(tmp_path / x / "metrics.csv"))
        ]
        for x in "ab"
    ]
    assert rows[0] == rows[1]
    _, other = run(tmp_path / "c", *words, "seed=1")
    assert other["adaptation_curve"] != first["adaptation_curve"]


def test_main_returns_the_best_validation_score(tmp_path):
    value, result = run(tmp_path, "algo=anil", "steps=9", "eval.every=3")
    rows = list(csv.DictReader(open(tmp_path / "metrics.csv")))
    scores = {int(row["step"]): float(row["val_accuracy"]) for row in rows if row["val_accuracy"]}
    assert list(scores) == [3, 6, 9] and value == max(scores.values()) == result["val_accuracy"]
    assert scores[result["best_step"]] == value
    assert torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)["step"] == result["best_step"]
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["step"] == 9


@pytest.mark.parametrize(("regression", "best"), [(False, 4), (True, 2)])
def test_the_best_is_kept_and_not_the_last(tmp_path, regression, best):
    from metalearn.controls import make_all
    from metalearn.controls.loop import ControlLoop

    scores = iter([0.5, 0.9, 0.7])  # after steps 2, 4 and 6
    trainer = trainer_of(tmp_path, limit=6, log_every=1, scores=scores, regression=regression)
    ControlLoop(trainer, make_all({"Step": {"n": 2}, "Evaluate": {}, "Save": {}})).run()
    assert trainer.selection.best.step == best and trainer.selection.best.score.mean == (0.5 if regression else 0.9)
    assert weights(tmp_path, "best.pt")["model"]["w"] == -best and weights(tmp_path)["model"]["w"] == -6


def test_the_test_score_is_that_of_the_best_checkpoint_on_test_classes(tmp_path):
    import metalearn
    from metalearn.config.instantiate import build

    _, result = run(tmp_path, "algo=anil", "steps=9", "eval.every=3")
    learner = metalearn.load(tmp_path)
    dataset = build(config(*SMALL)["data"], "data", Dataset)
    source = dataset.source("test", 0, "cpu")
    score = evaluate(learner.algorithm, learner.params, source, tasks=20, way=5, shot=1, query=3, device="cpu")
    assert (score.mean, score.ci95) == (pytest.approx(result["test_accuracy"]), pytest.approx(result["test_ci95"]))


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        # By default one algorithm of each kind, in one mode
        pytest.param(name, norm, marks=[] if name in FAST and i % len(MODES) == j else pytest.mark.slow)
        for i, name in enumerate(ALGORITHMS)
        for j, norm in enumerate(MODES)
    ],
)
def test_every_algorithm_learns_in_every_norm_mode(name, norm, small_glyphs):
    """After some meta-steps, held-out tasks are solved better than before."""
    settings = {"meta_batch": 64 if algorithm(name).unit == "examples" else 6, "chunk": 6, **LEARNS.get(name, {})}
    source = small_glyphs.source("train", 0, "cpu")
    algo = algorithm(name, norm=norm, filters=12, shape=(1, 28, 28), shot=1, query=4, labels=source.labels, **settings)
    params = algo.init()
    optimizer = OUTER.get(name, {"name": "Adam", "lr": 0.005})
    outer = OuterOptimizer(optimizer=optimizer, schedule="constant", warmup=0, clip=10.0, params=params, steps=60)
    held = {"tasks": 100, "way": 3, "shot": 1, "query": 4, "device": "cpu"}
    before = evaluate(algo, params, small_glyphs.source("test", 0, "cpu"), **held)
    for step in range(60):
        outer.step(algo.meta_gradient(outer.params, algo.sample(source, step, "cpu")))
    after = evaluate(algo, outer.params, small_glyphs.source("test", 0, "cpu"), **held)
    assert after.mean > before.mean + before.ci95


@pytest.mark.slow
def test_sinusoid_regression_is_learned(tmp_path):
    value = train(config("data=sinusoid", "steps=400", "eval.tasks=100", "eval.test_tasks=100"), tmp_path).score
    result = json.loads((tmp_path / "result.json").read_text())
    assert value == result["val_mse"] and "test_accuracy" not in result and result["norm_mode"] == "none"
    assert result["test_mse"] < 0.8 * result["adaptation_curve"][0] and result["test_mse"] < 3.5


def test_the_evaluation_interval_is_that_of_the_tasks(small_glyphs):
    algo = algorithm("anil", shape=(1, 28, 28))
    source = small_glyphs.source("test", 0, "cpu")
    params = algo.init()
    arguments = {"way": 3, "shot": 1, "query": 4, "device": "cpu"}
    score = evaluate(algo, params, source, tasks=50, curve=True, **arguments)
    singles = torch.tensor([one_task(algo, params, source, i) for i in range(50)], dtype=torch.float64)
    assert score.mean == pytest.approx(singles.mean().item(), abs=1e-6)
    assert score.ci95 == pytest.approx(student_t(49) * singles.std().item() / 50**0.5, abs=1e-6)
    assert len(score.curve) == algo.inner_steps_test + 1 and score.tasks == 50


def one_task(algo, params, source, i):
    from metalearn.algorithms.parameters import nth

    batch = source.tasks(torch.tensor([i]), 3, 1, 4)
    adapted = nth(algo.adapt(params, batch.support_x, batch.support_y), algo.inner_steps_test)
    return (algo.predict(adapted, batch.query_x).argmax(-1) == batch.query_y).double().mean().item()
