"""Runs of a sweep in processes of Hydra's launchers: how they end, and what the process of the sweep makes of it."""

import errno
import os
import signal
import sys
import threading

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from metalearn.cli import launchers
from metalearn.cli.sweep import KILLED, Report, SweepProcess, Watch
from metalearn.cli.task import Task
from metalearn.recording.comparison.sweep import Sweep
from metalearn.recording.job import JobRecord, read_job, write_job
from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import PARENT, STOP

TARGETS = {
    "basic": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "joblib": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "submitit": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
}


@pytest.fixture
def hydra(tmp_path, monkeypatch):
    """Hydra's settings of run 3 of a sweep over seeds, for a launcher."""
    for name in (PARENT, STOP, "SUBMITIT_EXECUTOR", launchers.THREADS):
        monkeypatch.setenv(name, "")  # to be restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["metalearn", "-m", "seed=0,1,2,3"])

    def settings(launcher: str, **more):
        config = {
            "mode": RunMode.MULTIRUN,
            "job": {"num": 3},
            "overrides": {"task": ["seed=3"], "hydra": []},
            "sweep": {"dir": str(tmp_path / "sweep")},
            "runtime": {"output_dir": str(tmp_path / "sweep" / "3")},
            "launcher": {"_target_": TARGETS[launcher], "submitit_folder": "sweep/.submitit/%j", **more},
        }
        HydraConfig.instance().cfg = OmegaConf.create({"hydra": config})
        return HydraConfig.get()

    yield settings
    HydraConfig.instance().cfg = None


def call(run, process=None):
    """Call the run as a launcher does in a process that the process of the sweep has started."""
    task = Task(run, ["-m", "seed=0,1,2,3"])
    task._process = os.getppid() if process is None else process
    return task, task(OmegaConf.create({"resume": None, "seed": 3}))


def ends(error):
    def run(config):
        raise error

    return run


@pytest.mark.parametrize("launcher", ["joblib", "submitit"])
@pytest.mark.parametrize(
    ("error", "status", "why"),
    [
        (UserError("way=500: too many"), 2, "failed: way=500: too many"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (ZeroDivisionError("of mine"), 1, "failed: ZeroDivisionError: of mine"),
        (Unfinished("ERROR: enough", 4, "run", 1), 1, "failed: ERROR: enough at meta-step 4"),
        (Unfinished("stopped by SIGTERM", 4, "run", 143), 143, "stopped by SIGTERM at meta-step 4"),
    ],
)
def test_a_run_in_another_process_notes_its_end_and_does_not_end_the_process(
    error, status, why, launcher, hydra, tmp_path, capfd
):
    hydra(launcher)
    if isinstance(error, Unfinished):
        error.folder = tmp_path
    task, score = call(ends(error))
    record = read_job(tmp_path / "sweep" / "3")
    assert score != score and record.status == status and why in record.ending
    assert (record.sweep, record.number, record.words) == (task.sweep, 3, ["seed=3"])
    said = capfd.readouterr().err
    assert (said == "") if launcher == "joblib" else said.startswith("metalearn: ")  # the process of the sweep says it


def test_a_run_that_is_started_again_by_its_launcher_is_resumed(hydra, tmp_path):
    hydra("submitit")
    seen = []

    def run(config):
        seen.append((config.resume, read_job(tmp_path / "sweep" / "3").status))
        return 0.5

    task, score = call(run)
    task(OmegaConf.create({"resume": None}))  # as after the loss of its machine
    call(run)  # the same words once more are another sweep
    assert score == 0.5 and seen == [(None, None), ("auto", None), (None, None)]
    assert read_job(tmp_path / "sweep" / "3").status == 0


@pytest.mark.parametrize("again", [True, False])
def test_a_preempted_run_leaves_the_process_to_submitit(again, hydra, tmp_path, monkeypatch):
    hydra("submitit")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    place = tmp_path / "sweep" / "3"

    def handler(number, frame):
        assert read_job(place).waits and read_job(place).why == "preempted at meta-step 4"
        raise SystemExit(144) if again else RuntimeError("Job not requeued because: timed-out too many times.")

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        stopped = ends(Unfinished("stopped by SIGUSR2", 4, tmp_path, 140))
        if again:
            with pytest.raises(SystemExit):
                call(stopped)
            return
        call(stopped)
    finally:
        signal.signal(signal.SIGUSR2, before)
    record = read_job(place)
    assert record.status == 140 and not record.waits and record.why.endswith("timed-out too many times.")


def test_a_preemption_is_printed_even_if_the_run_was_started_again_between_two_looks(tmp_path, capfd):
    watch = Watch(Sweep(["seed=0,1,2,3"], tmp_path), "mine")
    begun = JobRecord("mine", 3, ["seed=3"])
    why, refused = "preempted at meta-step 4", "preempted at meta-step 4, and not started again: timed out"
    again = begun._replace(preempted=[why])
    twice = again._replace(status=140, why=why, preempted=[why, why])  # no step was made in between
    for record in (begun, again, twice, begun._replace(preempted=[why, why]), again._replace(status=140, why=refused)):
        write_job(tmp_path / "3", record)
        watch._look()
    ends = [line.split(": ", 2)[-1] for line in capfd.readouterr().err.splitlines()]
    assert ends == [f"{why}; it will be started again"] * 2 + [refused]


def test_a_preemption_may_follow_a_stop(hydra, tmp_path, monkeypatch):
    """Slurm sends SIGTERM before the signal of a preemption, and the run may be saved between the two."""
    hydra("submitit")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setattr("metalearn.cli.task.GRACE", 20.0)
    before = signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(144))
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR2)).start()
    try:
        with pytest.raises(SystemExit):
            call(ends(Unfinished("stopped by SIGTERM", 4, tmp_path, 143)))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert read_job(tmp_path / "sweep" / "3").status == 143


def test_no_run_begins_after_the_sweep_was_stopped(hydra, tmp_path):
    hydra("joblib")
    task, _ = call(lambda config: 0.5)
    launchers.stop_file(tmp_path / "sweep", task.sweep).write_text("15")
    (tmp_path / "sweep" / "3" / "job.json").unlink()
    assert task(OmegaConf.create({"resume": None})) != 0.5 and read_job(tmp_path / "sweep" / "3") is None


@pytest.mark.parametrize(
    ("launcher", "ended", "status", "said"),
    [
        ("basic", [(0, ""), (0, "")], 0, ""),
        ("joblib", [(0, ""), (2, "way=500")], 2, "run 2 of 2: failed: way=500"),
        ("joblib", [(2, "way=500"), (1, "ERROR: x")], 2, "run 2 of 2: failed: ERROR: x"),
        ("joblib", [(143, "stopped by SIGTERM"), (2, "x")], 143, "run 1 did not end; to resume: "),
        ("joblib", [(None, ""), (0, "")], 1, "run 1 did not end; to resume: "),
        ("joblib", [(140, "stopped"), (143, "stopped")], 143, "runs 1, 2 did not end; to resume: "),
        ("joblib", [(0, "")], 1, "1 did not begin; to resume: metalearn -m seed=0,1"),
    ],
)
def test_the_process_of_a_sweep_learns_how_its_runs_have_ended(launcher, ended, status, said, hydra, tmp_path, capfd):
    settings = hydra(launcher)
    settings.overrides.task = ["seed=0,1"]
    sys.argv = ["metalearn", "-m", "seed=0,1"]
    with SweepProcess("mine") as sweep:
        Report().on_multirun_start(OmegaConf.create({"hydra": settings}))
        for number, (code, why) in enumerate(ended):
            write_job(tmp_path / "sweep" / str(number), JobRecord("mine", number, [f"seed={number}"], code, why))
        write_job(tmp_path / "sweep" / "9", JobRecord("of an earlier command", 9, [], 143, "stopped"))
        assert sweep.finish() == status
    out = capfd.readouterr()
    assert said in out.err and "run 9" not in out.err + out.out
    assert launcher == "basic" or "run 1 of 2: seed=0\n" in out.out
    if (None, "") in ended:
        assert read_job(tmp_path / "sweep" / "0").why == KILLED and f"0: failed: {KILLED}" in out.out


def test_a_launcher_that_fails_is_one_line(hydra, capfd):
    settings = hydra("joblib")
    with SweepProcess("mine") as sweep:
        Report().on_multirun_start(OmegaConf.create({"hydra": settings}))
        assert sweep.finish(RuntimeError('Could not detect "srun"\nmore')) == 2
    assert 'metalearn: hydra/launcher=joblib: RuntimeError: Could not detect "srun"\n' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hydra/launcher=joblib"], "needs hydra-joblib-launcher; in the clone: pip install '.[launchers]'"),
        (["hydra/launcher=submitit_slurm"], "needs hydra-submitit-launcher"),
        (["hydra/launcher=ray", "search=tpe"], "is for plain sweeps; a search starts its own processes"),
        (["hydra/launcher=basic", "search=tpe"], None),
        (["hydra/launcher=ray"], None),
    ],
)
def test_launchers_that_cannot_be_used_are_refused(words, message, monkeypatch):
    monkeypatch.setattr(launchers.importlib.util, "find_spec", lambda name: None)
    if message is None:
        launchers.check(words)
        return
    with pytest.raises(UserError) as refused:
        launchers.check(words)
    assert str(refused.value).startswith(f"{words[0]}: ") and message in str(refused.value)


def test_a_launcher_under_torchrun_is_refused(monkeypatch):
    monkeypatch.setattr(launchers.distributed, "is_torchrun", lambda: True)
    with pytest.raises(UserError, match="leave out either this or torchrun"):
        launchers.check(["hydra/launcher=ray"])


@pytest.mark.parametrize(
    ("launcher", "settings", "runs", "given", "threads"),
    [
        ("submitit", {}, 3, None, "2"),
        ("submitit", {}, 20, None, "1"),
        ("submitit", {"cpus_per_task": 4}, 20, None, "4"),
        ("submitit", {}, 3, "5", "5"),  # what the user says
        ("submitit", {}, None, None, "1"),
        ("joblib", {}, 3, None, None),  # divides by itself
    ],
)
def test_threads_are_divided_among_the_jobs_of_this_machine(
    launcher, settings, runs, given, threads, hydra, monkeypatch
):
    monkeypatch.setattr(launchers, "_processors", lambda: 8)
    if given:
        monkeypatch.setenv(launchers.THREADS, given)
    with launchers.divided_threads(hydra(launcher, **settings), runs):
        assert os.environ.get(launchers.THREADS) == threads
    assert os.environ.get(launchers.THREADS) == given


def test_a_job_of_slurm_computes_with_the_processors_that_it_has(hydra, monkeypatch):
    import torch

    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
        with launchers.threads():
            assert torch.get_num_threads() == 3 and os.environ[launchers.THREADS] == "3"
        torch.set_num_threads(1)
        with launchers.threads():  # the user's number, from now on
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
