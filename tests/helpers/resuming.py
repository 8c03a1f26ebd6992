"""Stopped and resumed runs, and what two equal runs have in common."""

import json
import signal

import pytest

from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import Unfinished
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import SINUSOID, config

CLOCK = {"train_seconds", "tasks_per_second", "examples_per_second"}  # no two runs agree in these


def state_of(folder):
    """All that two equal runs have in common: the tables byte by byte, the result, every tensor."""
    tables = {file.name: file.read_bytes() for file in folder.glob("*.csv") if "timing" not in file.name}
    result = json.loads((folder / "result.json").read_text())
    learners = {name: checkpoint.read(folder / "checkpoints" / f"{name}.pt") for name in ("last", "best")}
    tensors = {name: checkpoint.digest([c["params"], c["step"], c["spec"]]) for name, c in learners.items()}
    optimizer = checkpoint.digest(learners["last"]["state"]["trainer"]["optimizer"])
    return tables, {k: v for k, v in result.items() if k not in CLOCK}, tensors, optimizer


def same(a, b):
    for one, other in zip(state_of(a), state_of(b), strict=True):
        assert one == other
    rows = (a / "timing.csv").read_text().splitlines(), (b / "timing.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]


class Crash(BaseException):
    """As if the power had failed: nothing in the program handles it."""


class Countdown:
    """Raises when it has been passed so many times."""

    def __init__(self, at, error):
        self.at, self.error, self.count = at, error, 0

    def __call__(self, *args):
        self.count += 1
        if self.count == self.at:
            raise self.error


def resumed_at(folder, words, countdown):
    """Run, stopped by the countdown, and go on until the end; returns whether it was stopped."""
    try:
        train(config(*words), folder)
        return False
    except (Crash, Unfinished):
        countdown.at = -1
        train(config(*words, "resume=auto"), folder)  # there may not yet be anything to resume
        return True


def stop(folder, monkeypatch, words=SINUSOID, at=17):
    """Begin a run, and stop it at a call of `check`: by default after 12 meta-steps."""
    countdown = Countdown(at, Stopped(signal.SIGINT))
    with monkeypatch.context() as patch, pytest.raises(Unfinished):
        patch.setattr(Signals, "check", lambda self: countdown())
        train(config(*words), folder)
