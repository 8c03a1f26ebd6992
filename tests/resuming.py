"""What the tests of stopping and going on share."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from metalearn.errors import Unfinished
from metalearn.lifecycle.run import run_experiment
from metalearn.recording import checkpoint
from metalearn.runtime.signals import Signals, Stopped
from tests.conftest import QUICK
from tests.test_learner import config

CLOCK = {"train_seconds", "tasks_per_second"}  # no two runs agree in these
SINUSOID = ("data=sinusoid", "steps=20", "log_every=3", "eval.every=5", "eval.tasks=10", "eval.test_tasks=10",
            "algo.meta_batch=2", "model.hidden=[8]")  # fmt: skip
GLYPHS = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=2", "steps=8", "log_every=3", "eval.every=5", "way=3",
          "eval.tasks=4", "eval.test_tasks=4", "eval.query=2", "algo.meta_batch=2")  # fmt: skip
WORDS = (*(w for w in QUICK if not w.startswith(("steps", "eval.every", "log_every"))), "steps=120", "eval.every=20",
         "log_every=8", "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}")  # fmt: skip


def state_of(folder):
    """All that two equal runs have in common: the tables byte by byte, the result, every tensor."""
    tables = {file.name: file.read_bytes() for file in folder.glob("*.csv") if "timing" not in file.name}
    result = json.loads((folder / "result.json").read_text())
    learners = {name: checkpoint.read(folder / "checkpoints" / f"{name}.pt") for name in ("last", "best")}
    tensors = {name: checkpoint.digest([c["meta"], c["step"], c["spec"]]) for name, c in learners.items()}
    optimizer = checkpoint.digest(learners["last"]["state"]["optimizer"])
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
        run_experiment(config(*words), folder)
        return False
    except (Crash, Unfinished):
        countdown.at = -1
        run_experiment(config(*words, "resume=auto"), folder)  # there may not yet be anything to resume
        return True


def stop(folder, monkeypatch, words=SINUSOID, at=17):
    """Begin a run, and stop it at a call of `check`: by default after 12 meta-steps."""
    countdown = Countdown(at, Stopped(signal.SIGINT))
    with monkeypatch.context() as patch, pytest.raises(Unfinished):
        patch.setattr(Signals, "check", lambda self: countdown())
        run_experiment(config(*words), folder)


def begin(folder, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    # Whatever started the tests may ignore signals (nohup, a job in the background): a user's shell does not
    heed = lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    return subprocess.Popen([sys.executable, "-m", "metalearn.run", *words], cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed)  # fmt: skip


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def finished(folder, *words):
    process = begin(folder, *words)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out
