"""A run stopped at any moment and resumed is, to the bit, the run never stopped."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import metalearn
from metalearn import checkpoint, record, train
from metalearn.errors import Unfinished, UserError
from metalearn.experiment import run_experiment
from metalearn.signals import Signals, Stopped
from tests.conftest import QUICK
from tests.test_learner import config

CLOCK = {"train_seconds", "tasks_per_second"}  # no two runs agree in these
SINUSOID = ("data=sinusoid", "steps=20", "log_every=3", "eval.every=5", "eval.tasks=10", "eval.test_tasks=10",
            "algo.meta_batch=2", "model.hidden=[8]")  # fmt: skip
GLYPHS = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=2", "steps=8", "log_every=3", "eval.every=5", "way=3",
          "eval.tasks=4", "eval.test_tasks=4", "eval.query=2", "algo.meta_batch=2")  # fmt: skip


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


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than all the rest."""
    monkeypatch.setattr("metalearn.outcome.pictures", lambda *a: {})


def resumed_at(folder, words, countdown):
    """Run, stopped by the countdown, and go on until the end; returns whether it was stopped."""
    try:
        run_experiment(config(*words), folder)
        return False
    except (Crash, Unfinished):
        countdown.at = -1
        run_experiment(config(*words, "resume=auto"), folder)  # there may not yet be anything to resume
        return True


@pytest.mark.parametrize("words", [
    SINUSOID, (*SINUSOID, "control.retrain=true"), (*SINUSOID, "algo=reptile", "algo.train_shot=10"),
    (*GLYPHS, "norm=per_step", "control.retrain=true", "algo=pretrain"),
    (*SINUSOID, "+control.cycle.NumberSinceBest.n=1", "outer.optimizer.name=AdamW", "algo.engine=higher"),
], ids=["maml", "retrain", "reptile", "per_step", "early_stopping"])  # fmt: skip
def test_a_signal_between_any_two_steps_or_tasks(words, tmp_path, monkeypatch, no_pictures):
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    run_experiment(config(*words), tmp_path / "whole")
    total = countdown.count
    assert total > 12
    for at in range(1, total + 1, 1 if words == SINUSOID else 6):
        countdown.__init__(at, Stopped(signal.SIGTERM))
        assert resumed_at(tmp_path / f"{at}", words, countdown)
        same(tmp_path / "whole", tmp_path / f"{at}")


@pytest.mark.parametrize("words", [(), ("control.retrain=true",)], ids=["maml", "retrain"])
def test_a_crash_before_any_write_or_step(words, tmp_path, monkeypatch, no_pictures):
    """Nothing is handled and nothing saved: what lies on the disk has to do."""
    countdown = Countdown(-1, None)

    def watch(where, name):
        before = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, **k: (countdown(), before(*a, **k))[1])

    for where, name in (
        (os, "replace"),
        (os, "link"),
        (os, "fsync"),
        (train.Training, "measure"),
        (record.Table, "write"),
    ):
        watch(where, name)
    run_experiment(config(*SINUSOID, *words), tmp_path / "whole")
    total = countdown.count
    assert total > 60
    for at in range(1, total + 1, 7):
        countdown.__init__(at, Crash)
        assert resumed_at(tmp_path / f"{at}", (*SINUSOID, *words), countdown)
        same(tmp_path / "whole", tmp_path / f"{at}")


def test_stopped_again_and_again(tmp_path, monkeypatch, no_pictures):
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    run_experiment(config(*SINUSOID), tmp_path / "whole")
    dice, going = random.Random(0), 0
    while True:
        countdown.__init__(dice.randint(1, 8), Stopped(signal.SIGINT))
        try:
            run_experiment(config(*SINUSOID, "resume=auto"), tmp_path / "often")
            break
        except Unfinished:
            going += 1
    assert going >= 4
    same(tmp_path / "whole", tmp_path / "often")


# -- real processes --------------------------------------------------------------------------------------------

WORDS = (*(w for w in QUICK if not w.startswith(("steps", "eval.every", "log_every"))), "steps=120", "eval.every=20",
         "log_every=8", "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}")  # fmt: skip


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
        _, error = process.communicate(timeout=120)
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


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["maml", "anil", "reptile", "pretrain"])
def test_a_process_killed_ten_times_on_real_omniglot(algo, tmp_path, omniglot_root):
    words = ("data=omniglot", f"data.root={omniglot_root}", f"algo={algo}", "steps=120", "eval.every=20", "eval.tasks=20",
             "eval.test_tasks=20", "log_every=5", "control.cycle.Save.seconds=1", "hydra.run.dir=run")  # fmt: skip
    (tmp_path / "whole").mkdir()
    finished(tmp_path / "whole", *words)
    dice, kills, again = random.Random(2), 0, list(words)
    while True:
        process = begin(tmp_path, *again)
        if kills < 10:
            wait_for(lambda: (tmp_path / "run" / "config.json").exists(), process)
            try:
                process.wait(dice.uniform(3, 7))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        process.communicate(timeout=300)
        if process.returncode == 0:
            break
        again = ["resume=run"]
    assert kills >= 3
    same(tmp_path / "whole" / "run", tmp_path / "run")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_the_first_signal_saves_and_says_how_to_go_on(whole, tmp_path, sent, status):
    process = begin(tmp_path, *WORDS, "hydra.run.dir=a run")
    wait_for(lambda: (tmp_path / "a run" / "checkpoints" / "best.pt").exists(), process)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    first, last = error.strip().splitlines()
    assert "finishing the meta-step" in first
    at = int(last.split("meta-step ")[1].split(";")[0])
    assert checkpoint.read(tmp_path / "a run" / "checkpoints" / "last.pt")["step"] == at
    command = last.split("to go on: ")[1]
    if sent != signal.SIGINT:
        return
    done = subprocess.run(command.replace("python", sys.executable, 1), shell=True, cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"going on from meta-step {at}" in done.stdout
    same(whole, tmp_path / "a run")


def test_the_second_signal_stops_at_once(tmp_path):
    words = [word for word in WORDS if not word.startswith(("steps", "eval.tasks"))]
    process = begin(tmp_path, *words, "steps=1000", "eval.every=1", "eval.tasks=200000", "hydra.run.dir=run")
    wait_for(lambda: (tmp_path / "run" / "config.json").exists(), process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - began < 5 and "Traceback" not in error


def test_a_second_process_is_refused(tmp_path):
    words = [word for word in WORDS if not word.startswith("steps")]
    process = begin(tmp_path, *words, "steps=100000", "hydra.run.dir=run")
    try:
        wait_for(lambda: (tmp_path / "run" / "checkpoints" / "best.pt").exists(), process)
        other = begin(tmp_path, "resume=run")
        _, error = other.communicate(timeout=60)
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
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "resume=auto" in error.split("the whole sweep: ")[1] and "hydra.sweep.dir=sweep" in error
    before = (tmp_path / "sweep" / "0" / "result.json").read_bytes()
    out = finished(tmp_path, *words, "resume=auto")
    assert (tmp_path / "sweep" / "0" / "result.json").read_bytes() == before and "this run is complete" in out
    assert "going on from" in out and len((tmp_path / "sweep" / "comparison.csv").read_text().splitlines()) == 3


# -- what a run was, and what it is to be ----------------------------------------------------------------------


@pytest.fixture
def stopped(tmp_path, monkeypatch, no_pictures):
    """A run stopped after 12 of 20 meta-steps, in the middle of a cycle and of a row."""
    countdown = Countdown(-1, None)
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "check", lambda self: countdown())
        countdown.__init__(17, Stopped(signal.SIGINT))
        with pytest.raises(Unfinished):
            run_experiment(config(*SINUSOID), tmp_path / "run")
    return tmp_path / "run"


def test_a_changed_configuration_is_refused_and_named(stopped):
    with pytest.raises(UserError, match=r"algo.meta_batch: 2 -> 3\. .*allow_changes=true"):
        run_experiment(config(*SINUSOID, "algo.meta_batch=3", f"resume={stopped}"), stopped)
    run_experiment(config(*SINUSOID, "steps=30", f"resume={stopped}", "allow_changes=true"), stopped)
    assert json.loads((stopped / "result.json").read_text())["steps_taken"] == 30
    assert json.loads((stopped / "config.json").read_text())["config"]["steps"] == 30


def test_a_complete_run_can_be_made_longer_and_its_result_is_kept(stopped):
    run_experiment(config(*SINUSOID, f"resume={stopped}"), stopped)
    before = (stopped / "result.json").read_bytes()
    run_experiment(config(*SINUSOID, f"resume={stopped}"), stopped)  # there is nothing left to do
    assert (stopped / "result.json").read_bytes() == before
    run_experiment(config(*SINUSOID, "steps=25", f"resume={stopped}", "allow_changes=true"), stopped)
    assert (stopped / "result.before_changes.json").read_bytes() == before
    steps = [int(line.split(",")[0]) for line in (stopped / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps)) and steps[-1] == 25


def test_changes_that_cannot_be_leave_a_run_as_it_was(stopped):
    run_experiment(config(*SINUSOID, "resume=auto"), stopped)
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(UserError, match="other names or shapes"):
        run_experiment(config(*SINUSOID, "model.hidden=[9]", "resume=auto", "allow_changes=true"), stopped)
    assert {file: file.read_bytes() for file in before} == before


def test_a_run_begun_from_python_goes_on_from_the_command_line(tmp_path):
    node = config(*SINUSOID, "steps=30") | {"way": 2}  # a configuration that no words composed
    run_experiment(node | {"steps": 20}, tmp_path / "run")
    done = begin(tmp_path, "resume=run")
    out, error = done.communicate(timeout=60)
    assert done.returncode == 0, error
    assert "this run is complete" in out
    done = begin(tmp_path, "resume=run", "steps=4")
    assert "was begun from Python" in done.communicate(timeout=60)[1] and done.returncode == 2


def test_words_are_added_in_order_and_quoted(tmp_path):
    words = (*SINUSOID, "eval.test_tasks=4", "hydra.run.dir='it\\'s'", "+control.cycle.Patience.n=50")
    finished(tmp_path, *words)
    process = begin(tmp_path, "resume='it\\'s'", "~control.cycle.Patience")
    assert "control.cycle.Patience" in process.communicate(timeout=60)[1] and process.returncode == 2
    assert "going on with changes" in finished(
        tmp_path, "resume='it\\'s'", "~control.cycle.Patience", "steps=25", "allow_changes=true"
    )


def test_a_nan_in_the_retraining_leaves_the_first_result_to_be_had(tmp_path, monkeypatch, no_pictures):
    from metalearn.algorithms.maml import MAML

    before, count = MAML.meta_gradient, [0]

    def broken(self, meta, batch):
        step, count[0] = before(self, meta, batch), count[0] + 1
        return step if count[0] <= 33 else step._replace(gradients={n: g * math.nan for n, g in step.gradients.items()})

    with monkeypatch.context() as patch:
        patch.setattr(MAML, "meta_gradient", broken)
        with pytest.raises(UserError, match=r"in the retraining; .*control.retrain=false allow_changes=true"):
            run_experiment(config(*SINUSOID, "control.retrain=true"), tmp_path / "run")
    with pytest.raises(UserError, match="steps: 20 -> 30: in its retraining a run can no longer be changed"):
        run_experiment(config(*SINUSOID, "control.retrain=true", "steps=30", "resume=auto", "allow_changes=true"),
                       tmp_path / "run")  # fmt: skip
    with monkeypatch.context() as patch:  # a signal at its test loses nothing
        patch.setattr(Signals, "check", Countdown(1, Stopped(signal.SIGTERM)))
        with pytest.raises(Unfinished):
            run_experiment(config(*SINUSOID, "resume=auto", "allow_changes=true"), tmp_path / "run")
    run_experiment(config(*SINUSOID, "resume=auto"), tmp_path / "run")
    run_experiment(config(*SINUSOID), tmp_path / "once")
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "once"))
    assert one["test_mse"] == other["test_mse"] and not one["retrained"]


def test_a_retraining_keeps_what_the_first_training_kept(tmp_path, no_pictures):
    keep = "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}"
    run_experiment(config(*SINUSOID, keep), tmp_path / "once")
    run_experiment(config(*SINUSOID, keep, "control.retrain=true"), tmp_path / "again")
    for step in (5, 10, 15, 20):
        one, other = (checkpoint.read(tmp_path / n / "checkpoints" / f"step_{step}.pt") for n in ("once", "again"))
        assert checkpoint.digest(one["meta"]) == checkpoint.digest(other["meta"])


def test_a_checkpoint_that_the_disk_refused_is_written_later_as_it_was(tmp_path, monkeypatch, no_pictures):
    keep = "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}"
    before, refusals = train.write_atomically, []

    def refuse(path, data, kept=None):
        if path.name in ("step_5.pt", "best.pt") and refusals.count(path.name) < 2:
            refusals.append(path.name)
            raise OSError(28, "No space left on device")
        before(path, data, kept)

    monkeypatch.setattr(train, "write_atomically", refuse)
    run_experiment(config(*SINUSOID, keep), tmp_path)
    assert set(refusals) == {"step_5.pt", "best.pt"}
    assert checkpoint.read(tmp_path / "checkpoints" / "step_5.pt")["step"] == 5
    assert checkpoint.read(tmp_path / "checkpoints" / "best.pt")["step"] == 20


def test_a_checkpoint_that_cannot_be_read_just_now_is_not_put_aside(stopped, monkeypatch):
    from pathlib import Path

    before = Path.read_bytes
    refuse = lambda path: (
        before(path) if path.name != "last.pt" else (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(UserError, match=r"last\.pt: Input/output error"):
            run_experiment(config(*SINUSOID, "resume=auto"), stopped)
    assert (stopped / "checkpoints" / "last.pt").exists()


def test_a_signal_whose_terminal_is_gone_tears_no_step_apart(monkeypatch):
    def gone(*_):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", gone)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)  # SIGHUP may be ignored, as under nohup
        time.sleep(0.01)
        with pytest.raises(Stopped):
            signals.check()


def test_an_infinite_measurement_stops_and_is_never_the_best(tmp_path, monkeypatch, no_pictures):
    from metalearn import experiment
    from metalearn.evaluate import Score

    scores = iter([4.0, math.inf, 3.0, 2.0])
    before = experiment.Experiment._evaluate
    monkeypatch.setattr(experiment.Experiment, "_evaluate",
                        lambda self, meta, check: Score(**{**vars(before(self, meta, check)), "mean": next(scores)}))  # fmt: skip
    run_experiment(config(*SINUSOID), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (
        result["stopped_by"] == "InvalidValue" and "the loss measured at meta-step 10 is inf" in result["stop_reason"]
    )
    assert result["best_step"] == 5


def test_other_controls_go_on_with_another_cycle(stopped):
    run_experiment(config(*SINUSOID, "resume=auto"), stopped)
    words = ("steps=40", "allow_changes=true", "+control.cycle.NumberSinceBest.n=50", "resume=auto")
    run_experiment(config(*SINUSOID, *words), stopped)
    rows = [line.split(",") for line in (stopped / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows if row[3]] == [5, 10, 15, 20, 25, 30, 35, 40]  # measured as before
    layers = [tuple(line.split(",")[:2]) for line in (stopped / "layers.csv").read_text().splitlines()]
    assert len(layers) == len(set(layers))


def test_a_nan_in_the_middle_of_a_row_is_not_saved_by_a_signal(tmp_path, monkeypatch, no_pictures):
    from metalearn.algorithms.maml import MAML

    before, at = MAML.meta_gradient, [0]

    def broken(self, meta, batch):
        step, at[0] = before(self, meta, batch), at[0] + 1
        return step if at[0] != 7 else step._replace(gradients={n: g * math.nan for n, g in step.gradients.items()})

    monkeypatch.setattr(MAML, "meta_gradient", broken)
    countdown = Countdown(9, Stopped(signal.SIGINT))  # of the checks, the 9th comes after the 7th step
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    with pytest.raises(Unfinished):
        run_experiment(config(*SINUSOID, "log_every=20"), tmp_path)
    assert all(v.isfinite().all() for v in checkpoint.read(tmp_path / "checkpoints" / "last.pt")["meta"].values())


def test_other_parameters_are_refused(stopped):
    with pytest.raises(UserError, match="other names or shapes"):
        run_experiment(config(*SINUSOID, "model.hidden=[9]", f"resume={stopped}", "allow_changes=true"), stopped)


def test_a_run_is_never_overwritten(stopped):
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(UserError, match="holds a run already: go on with it"):
        run_experiment(config(*SINUSOID), stopped)
    assert all(file.read_bytes() == content for file, content in before.items())


def test_other_data_are_refused(tmp_path, monkeypatch):
    """data=auto found Omniglot before, and finds none now."""
    words = ("data.glyphs.classes=[8,6,6]", "data.download=false", "data.root=nowhere", "model.filters=2", "steps=2", "way=3",
             "eval.tasks=2", "eval.test_tasks=2", "eval.query=2")  # fmt: skip
    run_experiment(config(*words), tmp_path)
    noted = json.loads((tmp_path / "config.json").read_text())
    assert noted["data"].startswith("glyphs, ")
    (tmp_path / "config.json").write_text(json.dumps({**noted, "data": "omniglot, 0123"}))
    with pytest.raises(UserError, match="the data set found: omniglot, 0123 -> glyphs"):
        run_experiment(config(*words, f"resume={tmp_path}"), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, damage, tmp_path, capsys):
    run_experiment(config(*SINUSOID), tmp_path / "whole")
    last = stopped / "checkpoints" / "last.pt"
    content = last.read_bytes()
    at = content.index(checkpoint.read(last)["meta"]["layers.0.weight"].numpy().tobytes())
    damaged = {"cut": content[: len(content) // 2], "bit": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
               "empty": b"", "gone": None}[damage]  # fmt: skip
    last.unlink() if damaged is None else last.write_bytes(damaged)
    run_experiment(config(*SINUSOID, f"resume={stopped}"), stopped)
    said = capsys.readouterr().out
    assert f"{stopped}: going on from meta-step 10" in said
    assert damage == "gone" or ("damaged" in said and (stopped / "checkpoints" / "last.damaged.pt").exists())
    same(tmp_path / "whole", stopped)


def test_every_flipped_bit_is_found(stopped):
    path = stopped / "checkpoints" / "last.pt"
    content, dice = path.read_bytes(), random.Random(0)
    expected = checkpoint.digest(checkpoint.read(path))
    for _ in range(60):
        at = dice.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :])
        try:
            assert checkpoint.digest(checkpoint.read(path)) == expected  # a bit of padding, that says nothing
        except checkpoint.Damaged:
            pass


def test_no_readable_checkpoint_at_all(stopped, tmp_path, capsys):
    run_experiment(config(*SINUSOID), tmp_path / "whole")
    for file in (stopped / "checkpoints").glob("*.pt"):
        file.write_bytes(b"not a checkpoint")
    run_experiment(config(*SINUSOID, f"resume={stopped}"), stopped)
    assert "beginning again from meta-step 0" in capsys.readouterr().out
    same(tmp_path / "whole", stopped)


def test_code_in_a_checkpoint_is_never_run(stopped, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    torch.save({"format": checkpoint.FORMAT, "meta": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="damaged, or not a checkpoint"):
        metalearn.load(tmp_path / "evil.pt")
    shutil.copy(tmp_path / "evil.pt", stopped / "checkpoints" / "last.pt")
    run_experiment(config(*SINUSOID, f"resume={stopped}"), stopped)
    assert not (tmp_path / "executed").exists()


def test_an_algorithm_that_draws_random_numbers_resumes_exactly(tmp_path, monkeypatch):
    from metalearn.algorithms.maml import MAML

    before = MAML.meta_gradient

    def noisy(self, meta, batch):
        step = before(self, meta, batch)
        return step._replace(gradients={n: g + 0.01 * torch.randn_like(g) for n, g in step.gradients.items()})

    monkeypatch.setattr(MAML, "meta_gradient", noisy)
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    run_experiment(config(*SINUSOID), tmp_path / "whole")
    countdown.__init__(12, Stopped(signal.SIGINT))
    assert resumed_at(tmp_path / "other", SINUSOID, countdown)
    same(tmp_path / "whole", tmp_path / "other")


# -- retraining, and values that are none ----------------------------------------------------------------------


def test_retraining_learns_from_training_and_validation_classes_for_the_best_number_of_steps(tmp_path, small_glyphs):
    words = ("data=glyphs", "data.classes=[20,8,8]", "model.filters=4", "steps=9", "eval.every=3", "control.retrain=true",
             "algo=pretrain", "algo.meta_batch=16")  # fmt: skip
    run_experiment(config(*words), tmp_path / "again")
    result = json.loads((tmp_path / "again" / "result.json").read_text())
    learner = metalearn.load(tmp_path / "again")
    assert result["retrained"] and learner.spec["labels"] == 28 * 4  # every class of both, four ways round
    rows = (tmp_path / "again" / "retrain_metrics.csv").read_text().splitlines()
    assert int(rows[-1].split(",")[0]) == result["best_step"] and ",val" not in rows[1]
    # What was validated is the first training, untouched
    run_experiment(config(*words, "control.retrain=false"), tmp_path / "once")
    once = json.loads((tmp_path / "once" / "result.json").read_text())
    assert (once["val_accuracy"], once["best_step"]) == (result["val_accuracy"], result["best_step"])
    assert (tmp_path / "once" / "metrics.csv").read_bytes() == (tmp_path / "again" / "metrics.csv").read_bytes()


def test_the_union_deals_classes_of_both_and_none_of_the_test(small_glyphs):
    from metalearn.data import glyphs

    data = glyphs.load(classes=[3, 4, 5], split_seed=0, rotate_train=False, rotate_test=False)
    joined = data.source("train+validation", 0, "cpu").tasks(torch.arange(40), 5, 2, 2)
    images = {
        part: {x.numpy().tobytes() for x in data.source(part, 0, "cpu")._rows}
        for part in ("train", "validation", "test")
    }
    dealt = {x.numpy().tobytes() for x in (joined.support_x.flatten(0, 1).flatten(1) * 255).round().byte()}
    assert dealt & images["train"] and dealt & images["validation"]
    assert dealt <= images["train"] | images["validation"] and not dealt & (images["test"] - images["train"])


@pytest.mark.parametrize("what", ["the query loss", "the meta-gradient", "a weight"])
def test_an_invalid_value_stops_names_its_step_and_keeps_the_last_good_checkpoint(what, tmp_path, monkeypatch, capsys):
    from metalearn.algorithms.maml import MAML

    before, count = MAML.meta_gradient, [0]

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

    monkeypatch.setattr(MAML, "meta_gradient", broken)
    sgd = ("outer.optimizer={name: SGD, lr: 1e38}", "algo.inner_steps=0") if what == "a weight" else ()
    run_experiment(config(*SINUSOID, *sgd), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stopped_by"] == "InvalidValue" and f"{what} of meta-step 13 is" in result["stop_reason"]
    assert "by InvalidValue" in capsys.readouterr().out
    last = checkpoint.read(tmp_path / "checkpoints" / "last.pt")
    assert last["step"] == 10 and all(value.isfinite().all() for value in last["meta"].values())
    assert result["best_step"] in (5, 10)


def test_a_nan_before_any_measurement_is_one_line(run):
    done = run(*QUICK, "steps=50", "eval.every=50", "outer.optimizer={name: SGD, lr: 1e38}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "before any measurement" in line and "lower the learning rates" in line
