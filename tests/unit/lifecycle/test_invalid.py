"""Losses, gradients and weights that are no numbers."""

import json
import math
import signal
from dataclasses import replace

import pytest
import torch

from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import Unfinished
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import QUICK, SINUSOID, config
from tests.helpers.processes import refused
from tests.helpers.resuming import Countdown


@pytest.mark.parametrize("what", ["the query loss", "the meta-gradient", "a weight"])
def test_an_invalid_value_stops_names_its_step_and_keeps_the_last_good_checkpoint(what, tmp_path, monkeypatch, capsys):
    from metalearn.algorithms.maml import MAML

    before, count = MAML.task_gradients, [0]

    def broken(self, meta, batch):
        count[0] += 1
        step = before(self, meta, batch)
        if what == "a weight":  # finite gradients, which the outer learning rate below makes too large in step 13
            value = 1e3 if count[0] == 13 else 1e-45
            return step._replace(gradients={n: torch.full_like(g, value) for n, g in step.gradients.items()})
        if count[0] == 13 and what == "the query loss":
            return step._replace(metrics={**step.metrics, "loss": step.metrics["loss"] * math.nan})
        if count[0] == 13:
            return step._replace(gradients={n: g * math.inf for n, g in step.gradients.items()})
        return step

    monkeypatch.setattr(MAML, "task_gradients", broken)
    sgd = ("outer.optimizer={name: SGD, lr: 1e38}", "algo.inner_steps=0") if what == "a weight" else ()
    train(config(*SINUSOID, *sgd), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stopped_by"] == "InvalidValue" and f"{what} of meta-step 13 is" in result["stop_reason"]
    assert "by InvalidValue" in capsys.readouterr().out
    last = checkpoint.read(tmp_path / "checkpoints" / "last.pt")
    assert last["step"] == 10 and all(value.isfinite().all() for value in last["params"]["model"].values())
    assert result["best_step"] in (5, 10)


@pytest.mark.slow
def test_a_nan_before_any_measurement_is_one_line(run):
    done = run(*QUICK, "steps=50", "eval.every=50", "outer.optimizer={name: SGD, lr: 1e38}")
    refused(done, "before any measurement", "lower the learning rates")


def test_an_infinite_measurement_stops_and_is_never_the_best(tmp_path, monkeypatch):
    from metalearn.lifecycle import train as training

    scores = iter([4.0, math.inf, 3.0, 2.0])
    before = training.validate
    monkeypatch.setattr(training, "validate", lambda *given: replace(before(*given), mean=next(scores)))
    train(config(*SINUSOID), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (
        result["stopped_by"] == "InvalidValue" and "the loss measured at meta-step 10 is inf" in result["stop_reason"]
    )
    assert result["best_step"] == 5


def test_a_nan_in_the_middle_of_a_row_is_not_saved_by_a_signal(tmp_path, monkeypatch):
    from metalearn.algorithms.maml import MAML

    before, at = MAML.task_gradients, [0]

    def broken(self, meta, batch):
        step, at[0] = before(self, meta, batch), at[0] + 1
        return step if at[0] != 7 else step._replace(gradients={n: g * math.nan for n, g in step.gradients.items()})

    monkeypatch.setattr(MAML, "task_gradients", broken)
    countdown = Countdown(9, Stopped(signal.SIGINT))  # of the checks, the 9th comes after the 7th step
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    with pytest.raises(Unfinished):
        train(config(*SINUSOID, "log_every=20"), tmp_path)
    assert all(
        v.isfinite().all() for v in checkpoint.read(tmp_path / "checkpoints" / "last.pt")["params"]["model"].values()
    )
