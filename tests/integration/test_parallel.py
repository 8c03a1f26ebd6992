"""Several processes for one run: torchrun as a user types it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from metalearn.cli import torchrun
from metalearn.recording import checkpoint
from metalearn.runtime.signals import Signals, Stopped
from tests.helpers.configs import QUICK, ROOT

WORDS = [w for w in QUICK if not w.startswith("steps=")] + [
    "device=cpu",
    "steps=4",
    "algo.meta_batch=5",
    "norm=per_step",
    "outer=sgd",
]


def start(folder, *words, launcher="torch.distributed.run"):
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", launcher, "--nproc-per-node", "2", "--master-port", "0",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "metalearn.run", *words]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def weights(folder):
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["params"]["model"]


@pytest.mark.integration
def test_two_processes_train_the_weights_of_one_and_report_once(typed, tmp_path):
    two = start(tmp_path, *WORDS, "hydra.run.dir=two")
    one = typed(*WORDS, "hydra.run.dir=one", OMP_NUM_THREADS="1", pictures=True)
    out, err = two.communicate(timeout=600)
    assert (one.returncode, two.returncode) == (0, 0), err + one.stderr
    assert "over 2 processes" in out and out.count("test accuracy") == 1 and out.count("engine:") == 1
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        p.name for p in (tmp_path / "one").iterdir()
    )
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"one", "two"}
    a, b = (weights(tmp_path / name) for name in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6, msg=name)
    rows = [list(csv.DictReader(open(tmp_path / name / "metrics.csv"))) for name in ("one", "two")]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] == ["1", "2", "3", "4"]
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert [r["processes"] for r in results] == [1, 2]


@pytest.mark.integration
def test_a_mistake_is_said_once_and_nobody_waits(tmp_path):
    process = start(tmp_path, *WORDS, "algo.meta_batch=1")
    _, err = process.communicate(timeout=600)
    assert process.returncode != 0
    assert err.count("metalearn: 1 tasks in a meta-batch cannot be split over 2 processes") == 1


def started(tmp_path, launcher="torch.distributed.run"):
    """A run of two processes that has trained for some meta-steps."""
    words = (*WORDS, "steps=100000", "eval.every=100000", "log_every=1", "hydra.run.dir=out")
    process = start(tmp_path, *words, launcher=launcher)
    table = tmp_path / "out" / "metrics.csv"
    began = time.monotonic()
    while not (table.exists() and len(table.read_text().splitlines()) > 3) and time.monotonic() - began < 300:
        time.sleep(0.2)
    return process


@pytest.mark.integration
def test_a_signal_saves_and_ends_all_of_them(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert (
        err.count("stopped by SIGTERM") == 1
        and "to resume: torchrun --nproc-per-node 2 -m metalearn.run resume=" in err
    ), err
    assert torch.load(tmp_path / "out" / "checkpoints" / "last.pt", weights_only=True)["step"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_the_launcher_exits_as_the_run_does(tmp_path, sent, status):
    process = started(tmp_path, "metalearn.cli.torchrun")
    process.send_signal(sent)
    _, err = process.communicate(timeout=600)
    assert process.returncode == status and err.count(f"stopped by {sent.name}") == 1, err
    assert "python -m metalearn.cli.torchrun --nproc-per-node 2 -m metalearn.run resume=" in err
    assert checkpoint.read(tmp_path / "out" / "checkpoints" / "last.pt")["step"] >= 3


@pytest.mark.slow
def test_nobody_trains_on_when_torchrun_was_killed(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=600)  # returns when the last process has closed its output
    assert process.returncode == -signal.SIGUSR1 and "the process that started this one has ended; saving" in err
    assert checkpoint.read(tmp_path / "out" / "checkpoints" / "last.pt")["step"] >= 3


@pytest.mark.parametrize(("codes", "status"), [({0: 2, 1: 1}, 2), ({1: 1}, 1), ({0: -9}, 137)])
def test_the_exit_status_is_that_of_process_0(monkeypatch, codes, status):
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def fail(args):
        made = {rank: ProcessFailure(rank, rank, code, "none") for rank, code in codes.items()}
        raise ChildFailedError("metalearn.run", made)

    monkeypatch.setattr(run, "run", fail)
    assert torchrun.main(["--nproc-per-node", "2", "-m", "metalearn.run"]) == status


def test_the_end_of_the_launcher_stops_the_run(monkeypatch):
    monkeypatch.setattr("metalearn.runtime.distributed.is_torchrun", lambda: True)
    with Signals() as signals:
        signals.check()
        monkeypatch.setattr("os.getppid", lambda: 1)
        with pytest.raises(Stopped, match="SIGHUP"):
            signals.check()
