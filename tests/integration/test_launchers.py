"""Sweeps by Hydra's launchers, which start processes: mistakes, signals, kills and preemptions reach the sweep."""

import csv
import json
import os
import shlex
import signal
import sys
import time

import pytest

from metalearn.recording import checkpoint
from metalearn.recording.job import read_job
from tests.helpers import slurm
from tests.helpers.configs import QUICK, WORDS
from tests.helpers.launchers import jobs_below, needs, workers_of_joblib
from tests.helpers.processes import begin, finished, wait_for
from tests.helpers.resuming import same

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

LONG = [
    *(word for word in WORDS if not word.startswith(("steps", "+control"))),
    "steps=60",
    "pictures=none",
    "seed=0,1,2",
]
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep by Hydra's own launcher, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    finished(folder, "-m", *LONG, "hydra.sweep.dir=sweep")
    return folder / "sweep"


def trains(folder):
    """True when a run has evaluated its learner, and so has a checkpoint."""
    return (folder / "checkpoints" / "best.pt").exists()


def table(folder):
    with open(folder / "comparison.csv") as file:
        return {row["run"]: row["status"] for row in csv.DictReader(file)}


def resume(error, folder):
    """Run the printed command that resumes a sweep; return its output."""
    (command,) = {line.split("; to resume: ")[1] for line in error.splitlines() if "; to resume: python" in line}
    words = shlex.split(command)[3:]
    return finished(folder, *words)


def equal(whole, folder):
    for run in "012":
        same(whole / run, folder / run)


def test_a_mistake_in_a_process_of_joblib_is_seen(tmp_path):
    needs("joblib")
    words = ("-m", *QUICK, *JOBLIB, "algo=anil,maml", "algo.inner_optimizer.lr=0.1,-1", "hydra.sweep.dir=sweep")
    process = begin(tmp_path, *words, OMP_NUM_THREADS="")
    out, error = process.communicate(timeout=600)
    assert process.returncode == 2 and "Traceback" not in error, error
    assert "run 2 of 4: failed: algo.inner_optimizer.lr=-1: must be above 0" in error
    for number in "1234":
        assert out.count(f"run {number} of 4: algo=") == 1
    assert "run 3 of 4 is complete" in out and "best by validation" in out
    rows = table(tmp_path / "sweep")
    assert [rows[run].startswith("failed: algo.inner") for run in "0123"] == [False, True, False, True]
    result = json.loads((tmp_path / "sweep" / "0" / "result.json").read_text())
    threads = max(1, len(os.sched_getaffinity(0)) // 2)  # divided
    assert f"{threads} thread" in result["device_name"]
    assert "record: " in (tmp_path / "sweep" / "logs" / "0.txt").read_text()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_the_processes_of_joblib_which_save(sent, whole, tmp_path):
    needs("joblib")
    process = begin(tmp_path, "-m", *LONG, *JOBLIB, "hydra.sweep.dir=sweep", session=True)
    wait_for(lambda: trains(tmp_path / "sweep" / "0") and trains(tmp_path / "sweep" / "1"), process)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # Ctrl-C reaches all of them
    else:
        process.send_signal(sent)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 128 + sent and "Traceback" not in error, error
    assert f"stopped by {sent.name}; 0 of 3 runs are complete; to resume: " in error
    for run in "01":
        record = read_job(tmp_path / "sweep" / run)
        last = checkpoint.read(tmp_path / "sweep" / run / "checkpoints" / "last.pt")
        assert record.status == 128 + sent and record.why == f"stopped by {sent.name} at meta-step {last['step']}"
    assert not (tmp_path / "sweep" / "2" / "metrics.csv").exists()
    if sent == signal.SIGTERM:
        return  # the same record is resumed
    assert "resuming from meta-step" not in resume(error, tmp_path)  # it is in the logs of the runs
    assert "resuming from meta-step" in (tmp_path / "sweep" / "logs" / "0.txt").read_text()
    equal(whole, tmp_path / "sweep")


def test_a_process_of_joblib_that_is_killed_fails_the_sweep(whole, tmp_path):
    needs("joblib")
    process = begin(tmp_path, "-m", *LONG, *JOBLIB, "hydra.sweep.dir=sweep")
    wait_for(lambda: trains(tmp_path / "sweep" / "0") and trains(tmp_path / "sweep" / "1"), process)
    os.kill(workers_of_joblib(process.pid)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 1 and "Traceback" not in error, error
    assert (
        "hydra/launcher=joblib: TerminatedWorkerError: " in error and "runs 1, 2 did not end, 1 did not begin" in error
    )
    assert all("ended without a result" in status for status in table(tmp_path / "sweep").values())
    resume(error, tmp_path)
    equal(whole, tmp_path / "sweep")


def test_no_run_outlives_the_process_of_the_sweep(tmp_path):
    needs("joblib")
    process = begin(tmp_path, "-m", *LONG, *JOBLIB, "hydra.sweep.dir=sweep")
    wait_for(lambda: trains(tmp_path / "sweep" / "0") and trains(tmp_path / "sweep" / "1"), process)
    workers = workers_of_joblib(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while (left := [worker for worker in workers if os.path.exists(f"/proc/{worker}")]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    process.communicate()
    assert not left
    assert [read_job(tmp_path / "sweep" / run).status for run in "01"] == [129, 129]
    assert not (tmp_path / "sweep" / "2" / "metrics.csv").exists()


def test_jobs_of_submitit_are_preempted_stopped_and_killed(whole, tmp_path):
    """The preempted job is saved, started again by submitit, and ends as if it had never been stopped."""
    needs("submitit")
    process = begin(tmp_path, "-m", *LONG, "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep")
    signals = {0: signal.SIGUSR2, 1: signal.SIGTERM, 2: signal.SIGKILL}

    def sent():
        """Send each job its signal as soon as it trains: they may start seconds apart."""
        for number in [number for number in signals if trains(tmp_path / "sweep" / str(number))]:
            os.kill(jobs_below(tmp_path / "sweep")[number], signals.pop(number))
        return not signals

    wait_for(sent, process)
    out, error = process.communicate(timeout=600)
    assert process.returncode == 143 and "Traceback" not in error, error
    rows = table(tmp_path / "sweep")
    assert rows["0"] == "" and rows["1"].startswith("stopped by SIGTERM at meta-step")
    assert rows["2"].startswith("failed: ended without a result")
    assert "runs 2, 3 did not end; to resume: " in error and "of submitit has ended without a result; see " in error
    assert "run 1 of 3 is complete" in out and "run 2 of 3 is complete" not in out
    logs = "".join(file.read_text() for file in (tmp_path / "sweep" / ".submitit").rglob("*_log.out"))
    saved = logs.split("resuming from meta-step ")[1].splitlines()[0]
    assert f"preempted at meta-step {saved}; it will be started again" in error  # saved where it was
    same(whole / "0", tmp_path / "sweep" / "0")
    resume(error, tmp_path)
    equal(whole, tmp_path / "sweep")


def test_a_job_of_slurm_that_is_preempted_is_queued_again_and_resumes(whole, tmp_path):
    """Slurm is a stand-in of this machine: its commands do what submitit asks of them."""
    needs("submitit")
    slurm.install(tmp_path / "slurm")
    words = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.cpus_per_task=1",
             "hydra.launcher.max_num_timeout=20", "+hydra.launcher.additional_parameters.requeue=true")  # fmt: skip
    path = f"{tmp_path / 'slurm'}:{os.environ['PATH']}"
    long = [word.replace("seed=0,1,2", "seed=0,1") for word in LONG]
    process = begin(tmp_path, "-m", *long, *words, "hydra.sweep.dir=sweep", PATH=path, OMP_NUM_THREADS="")
    wait_for(lambda: trains(tmp_path / "sweep" / "0"), process)
    job = jobs_below(tmp_path / "sweep")[0]
    os.kill(job, signal.SIGTERM)  # as Slurm does in a preemption
    wait_for(lambda: read_job(tmp_path / "sweep" / "0").status == 143, process)  # saved
    os.kill(job, signal.SIGUSR2)
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0 and "run 1 of 2 is complete" in out, error
    log = (tmp_path / "sweep" / ".submitit" / "700_0" / "700_0_0_log.out").read_text()
    assert "Requeued job 700_0" in log and "resuming from meta-step" in log
    for run in "01":
        same(whole / run, tmp_path / "sweep" / run)
