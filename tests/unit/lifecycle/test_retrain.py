"""Training once more, on training and validation classes together."""

import csv
import json
import math
import signal

import pytest
import torch

import metalearn
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import PLATEAU, SINUSOID, config
from tests.helpers.resuming import Countdown


def test_retraining_learns_from_training_and_validation_classes_for_the_best_number_of_steps(tmp_path, small_glyphs):
    words = (
        "data=glyphs",
        "data.classes=[20,8,8]",
        "model.filters=4",
        "steps=9",
        "eval.every=3",
        "control.retrain=true",
        "algo=pretrain",
        "algo.meta_batch=16",
    )
    train(config(*words), tmp_path / "again")
    result = json.loads((tmp_path / "again" / "result.json").read_text())
    learner = metalearn.load(tmp_path / "again")
    assert result["retrained"] and learner.spec["labels"] == 28 * 4  # every class of both, four ways round
    rows = (tmp_path / "again" / "retrain_metrics.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[0]) == result["best_step"] and ",val" not in rows[1]
    # What was validated is the first training, untouched
    train(config(*words, "control.retrain=false"), tmp_path / "once")
    once = json.loads((tmp_path / "once" / "result.json").read_text())
    assert (once["val_accuracy"], once["best_step"]) == (result["val_accuracy"], result["best_step"])
    assert (tmp_path / "once" / "metrics.csv").read_bytes() == (tmp_path / "again" / "metrics.csv").read_bytes()


def test_the_union_deals_classes_of_both_and_none_of_the_test(small_glyphs):
    from metalearn.data import glyphs

    data = glyphs.load(classes=[3, 4, 5], split_seed=0, rotate_train=False, rotate_test=False)
    joined = data.source("train+validation", 0, "cpu").tasks(torch.arange(40), 5, 2, 2)
    images = {}
    for part in ("train", "validation", "test"):
        source = data.source(part, 0, "cpu")
        pixels = source._store(torch.arange(len(source._label)), None).flatten(1)
        images[part] = {x.numpy().tobytes() for x in pixels}
    sampled = {x.numpy().tobytes() for x in (joined.support_x.flatten(0, 1).flatten(1) * 255).round().byte()}
    assert sampled & images["train"] and sampled & images["validation"]
    assert sampled <= images["train"] | images["validation"] and not sampled & (images["test"] - images["train"])


@pytest.mark.slow
def test_a_nan_in_the_retraining_leaves_the_first_result_to_be_had(tmp_path, monkeypatch):
    from metalearn.algorithms.maml import MAML

    before, count = MAML.task_gradients, [0]

    def broken(self, meta, batch):
        step, count[0] = before(self, meta, batch), count[0] + 1
        return step if count[0] <= 33 else step._replace(gradients={n: g * math.nan for n, g in step.gradients.items()})

    with monkeypatch.context() as patch:
        patch.setattr(MAML, "task_gradients", broken)
        with pytest.raises(UserError, match=r"in the retraining; .*control.retrain=false allow_changes=true"):
            train(config(*SINUSOID, "control.retrain=true"), tmp_path / "run")
    with pytest.raises(UserError, match="steps: 20 -> 30: in its retraining a run can no longer be changed"):
        train(
            config(*SINUSOID, "control.retrain=true", "steps=30", "resume=auto", "allow_changes=true"), tmp_path / "run"
        )
    with monkeypatch.context() as patch:  # a signal at its test loses nothing
        patch.setattr(Signals, "check", Countdown(1, Stopped(signal.SIGTERM)))
        with pytest.raises(Unfinished):
            train(config(*SINUSOID, "resume=auto", "allow_changes=true"), tmp_path / "run")
    train(config(*SINUSOID, "resume=auto"), tmp_path / "run")
    train(config(*SINUSOID), tmp_path / "once")
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "once"))
    assert one["test_mse"] == other["test_mse"] and not one["retrained"]


def test_a_retraining_replays_the_rates_of_a_plateau(tmp_path):
    train(config(*SINUSOID, PLATEAU, "control.retrain=true", "log_every=1", "outer.warmup=3"), tmp_path)
    rates = [
        {row["step"]: row["lr"] for row in csv.DictReader((tmp_path / f"{name}metrics.csv").open())}
        for name in ("", "retrain_")
    ]
    assert rates[0] == rates[1] and len(set(rates[0].values())) == 6  # two of warm-up, four of measurements


@pytest.mark.slow
def test_a_retraining_keeps_what_the_first_training_kept(tmp_path):
    keep = "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}"
    train(config(*SINUSOID, keep), tmp_path / "once")
    train(config(*SINUSOID, keep, "control.retrain=true"), tmp_path / "again")
    for step in (5, 10, 15, 20):
        one, other = (checkpoint.read(tmp_path / n / "checkpoints" / f"step_{step}.pt") for n in ("once", "again"))
        assert checkpoint.digest(one["params"]) == checkpoint.digest(other["params"])
