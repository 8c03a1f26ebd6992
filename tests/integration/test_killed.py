"""Real processes, killed, signalled and started again; and sweeps of them."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from metalearn.recording import checkpoint
from tests.helpers.configs import SINUSOID, WORDS
from tests.helpers.processes import begin, finished, wait_for
from tests.helpers.resuming import same

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    finished(folder, *WORDS, "hydra.run.dir=run")
    return folder / "run"


def kill_until_done(folder, words, seed, most, patience):
    """Kill the process at random moments, with -9 or a signal, and go on each time; returns how often it was killed."""
    dice, kills = random.Random(seed), 0
    while True:
        process = begin(folder, *words)
        # Often in the middle of training, at times before it: the start-up takes seconds
        wait_for(lambda: (folder / "run" / ".lock").exists(), process)
        if kills < most:
            try:
                process.wait(dice.uniform(0.2, patience))
            except subprocess.TimeoutExpired:
                process.send_signal(dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
                kills += 1
        _, error = process.communicate(timeout=600)
        assert "Traceback" not in error, error
        if process.returncode == 0:
            return kills
        assert process.returncode in (-9, -15, -2, 130, 143), error  # -15, -2: before anything was begun
        words = [*WORDS, "hydra.run.dir=run", "resume=auto"] if kills % 2 else ["resume=run"]


def test_a_process_killed_at_random_moments_ends_as_the_one_left_alone(whole, tmp_path):
    assert kill_until_done(tmp_path, [*WORDS, "hydra.run.dir=run"], seed=1, most=5, patience=5) >= 3
    same(whole, tmp_path / "run")
    left = [file.name for file in tmp_path.rglob(".*") if file.name not in (".hydra", ".lock")]
    assert not left, left  # nothing of half-written files
    kept = sorted(file.name for file in (whole / "checkpoints").glob("step_*.pt"))
    assert len(kept) == 6 and kept == sorted(file.name for file in (tmp_path / "run" / "checkpoints").glob("step_*.pt"))


def test_a_process_ended_while_it_starts_leaves_no_folder(tmp_path):
    process = begin(tmp_path, *WORDS)
    wait_for(lambda: list(tmp_path.glob("runs/*")), process)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGTERM and out in ("", "metalearn: starting ...\n") and error == ""
    assert not list(tmp_path.glob("runs/*"))


def written_anew(file):
    """The condition that the file has been written after now."""
    now = time.time()
    return lambda: file.exists() and file.stat().st_mtime > now


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "most"), [("anil", 6), ("pretrain", 3)])  # test_resume.py has the other kinds
def test_a_process_killed_again_and_again_on_real_omniglot(algo, most, tmp_path, omniglot_root):
    words = ("data=omniglot", f"data.root={omniglot_root}", f"algo={algo}", "steps=240", "eval.every=40", "eval.tasks=20",
             "eval.test_tasks=20", "log_every=5", "control.cycle.Save.seconds=0.1", "hydra.run.dir=run")  # fmt: skip
    (tmp_path / "whole").mkdir()
    finished(tmp_path / "whole", *words)
    dice, kills, again, last = random.Random(2), 0, list(words), tmp_path / "run" / "checkpoints" / "last.pt"
    while True:
        process = begin(tmp_path, *again)
        if kills < most:
            wait_for(written_anew(last), process)  # it trains
            try:
                process.wait(dice.uniform(0, 0.5))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        process.communicate(timeout=600)
        if process.returncode == 0:
            break
        again = ["resume=run"]
    assert kills >= 2
    same(tmp_path / "whole" / "run", tmp_path / "run")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_the_first_signal_saves_and_says_how_to_go_on(whole, tmp_path, sent, status):
    process = begin(tmp_path, *WORDS, "hydra.run.dir=a run")
    wait_for(lambda: (tmp_path / "a run" / "checkpoints" / "best.pt").exists(), process)
    process.send_signal(sent)
    _, error = process.communicate(timeout=600)
    assert process.returncode == status
    first, last = error.strip().splitlines()
    assert "finishing the meta-step" in first
    at = int(last.split("meta-step ")[1].split(";")[0])
    assert checkpoint.read(tmp_path / "a run" / "checkpoints" / "last.pt")["step"] == at
    command = last.split("to resume: ")[1]
    if sent != signal.SIGINT:
        return
    done = subprocess.run(
        command.replace("python", sys.executable, 1),
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert f"resuming from meta-step {at}" in done.stdout
    same(whole, tmp_path / "a run")


def test_the_second_signal_stops_at_once(tmp_path):
    words = [word for word in WORDS if not word.startswith(("steps", "eval.tasks"))]
    process = begin(tmp_path, *words, "steps=1000", "eval.every=1", "eval.tasks=200000", "hydra.run.dir=run")
    wait_for(lambda: (tmp_path / "run" / "config.json").exists(), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)  # its validation takes much longer
    assert process.returncode == 130 and "Traceback" not in error


def test_a_second_process_is_refused(tmp_path):
    words = [word for word in WORDS if not word.startswith("steps")]
    process = begin(tmp_path, *words, "steps=100000", "hydra.run.dir=run")
    try:
        wait_for(lambda: (tmp_path / "run" / "checkpoints" / "best.pt").exists(), process)
        other = begin(tmp_path, "resume=run")
        _, error = other.communicate(timeout=600)
        assert other.returncode == 2 and "another process is working on this run" in error
    finally:
        process.kill()
        process.communicate()


def test_auto_finds_the_unfinished_run_of_the_same_configuration(tmp_path):
    words = (*WORDS, "steps=60")
    for seed in (0, 1):
        process = begin(tmp_path, *words, f"seed={seed}")
        wait_for(lambda seed=seed: list(tmp_path.glob(f"runs/*_seed{seed}/checkpoints/last.pt")), process)
        process.kill()
        process.communicate()
    (first,) = tmp_path.glob("runs/*_seed0")
    out = finished(tmp_path, *words, "seed=0", "resume=auto")
    assert (first / "result.json").exists() and str(first.relative_to(tmp_path)) in out
    assert len(list(tmp_path.glob("runs/*"))) == 2
    finished(tmp_path, *words, "resume=auto", "steps=2")  # there is none: it begins one
    assert len(list(tmp_path.glob("runs/*"))) == 3


def test_a_sweep_goes_on(tmp_path):
    words = ("-m", *WORDS, "steps=60", "seed=0,1", "hydra.sweep.dir=sweep")
    process = begin(tmp_path, *words)
    wait_for(lambda: (tmp_path / "sweep" / "1" / "checkpoints" / "best.pt").exists(), process)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 143
    assert "resume=auto" in error.split("the whole sweep: ")[1] and "hydra.sweep.dir=sweep" in error
    before = (tmp_path / "sweep" / "0" / "result.json").read_bytes()
    out = finished(tmp_path, *words, "resume=auto")
    assert (tmp_path / "sweep" / "0" / "result.json").read_bytes() == before and "this run is complete" in out
    assert "resuming from" in out and len((tmp_path / "sweep" / "comparison.csv").read_text().splitlines()) == 3


def end(processes):
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_runs_started_at_once_have_folders_of_their_own_and_are_resumed_by_one_process_each(tmp_path):
    words = [*(word for word in SINUSOID if not word.startswith("steps=")), "steps=1000000"]
    processes = [begin(tmp_path, *words) for _ in range(3)]
    try:
        for process in processes:
            wait_for(lambda: len(list(tmp_path.glob("runs/*/checkpoints/last.pt"))) == 3, process)
    finally:
        end(processes)
    folders = sorted(tmp_path.glob("runs/*"))
    assert len(folders) == 3
    processes = [begin(tmp_path, *words, "resume=auto") for _ in range(3)]
    try:
        lines = [next((line for line in process.stdout if "resuming" in line), "") for process in processes]
    finally:
        end(processes)
    assert sorted(tmp_path.glob("runs/*")) == folders
    for folder in folders:
        assert sum(f"{folder}: resuming from meta-step" in line for line in lines) == 1, lines
