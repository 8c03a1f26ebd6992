"""A run stopped at any moment and resumed is, to the bit, the run never stopped."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest
import torch

from metalearn.controls.loop import Paused
from metalearn.lifecycle import lock, run_folder
from metalearn.lifecycle.launch import launch, train
from metalearn.lifecycle.run_folder import Invocation
from metalearn.recording import checkpoint, record
from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import Signals, Stopped
from metalearn.search.report_control import Report
from metalearn.training.trainer import Trainer
from tests.helpers.configs import GLYPHS, PLATEAU, SINUSOID, config, every
from tests.helpers.processes import begin, finished
from tests.helpers.resuming import Countdown, Crash, resumed_at, same, stop

KINDS = {
    "maml": SINUSOID,
    "retrain": (*SINUSOID, "control.retrain=true"),
    "reptile": (*SINUSOID, "algo=reptile", "algo.train_shot=10"),
    "per_step": (*GLYPHS, "norm=per_step", "control.retrain=true", "algo=pretrain"),
    "plateau": (*SINUSOID, PLATEAU, "control.retrain=true"),
    "one_cycle": (*SINUSOID, "outer.schedule={name: OneCycleLR, max_lr: 0.01, total_steps: 20}", "outer.warmup=4"),
    "early_stopping": (
        *SINUSOID,
        "+control.cycle.NumberSinceBest.n=1",
        "outer.optimizer.name=AdamW",
        "engine.inner_loop=higher",
    ),
}


@pytest.mark.parametrize(
    ("words", "moments"),
    [
        pytest.param(words, moments, marks=pytest.mark.slow)
        for kind, words in KINDS.items()
        for moments in (4, None)  # some, or every one
    ],
    ids=[f"{kind}-{moments}" for kind in KINDS for moments in ("some", "every")],
)
def test_a_signal_between_two_steps_or_tasks(words, moments, tmp_path, monkeypatch):
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    train(config(*words), tmp_path / "whole")
    total = countdown.count
    assert total > 12
    for at in range(1, total + 1, total // moments if moments else 1 if words == SINUSOID else 6):
        countdown.__init__(at, Stopped(signal.SIGTERM))
        assert resumed_at(tmp_path / f"{at}", words, countdown)
        same(tmp_path / "whole", tmp_path / f"{at}")


@pytest.mark.slow
@pytest.mark.parametrize("every", [42, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "words", [(), pytest.param(("control.retrain=true",), marks=pytest.mark.slow)], ids=["maml", "retrain"]
)
def test_a_crash_before_a_write_or_step(words, every, tmp_path, monkeypatch):
    """Nothing is handled and nothing saved: what lies on the disk has to do."""
    countdown = Countdown(-1, None)

    def watch(where, name):
        before = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *a, **k: (countdown(), before(*a, **k))[1])

    for where, name in (
        (os, "replace"),
        (os, "link"),
        (os, "fsync"),
        (Trainer, "measure"),
        (record.Table, "write"),
    ):
        watch(where, name)
    train(config(*SINUSOID, *words), tmp_path / "whole")
    total = countdown.count
    assert total > 60
    for at in range(1, total + 1, every):
        countdown.__init__(at, Crash)
        assert resumed_at(tmp_path / f"{at}", (*SINUSOID, *words), countdown)
        same(tmp_path / "whole", tmp_path / f"{at}")


@pytest.mark.slow
def test_stopped_again_and_again(tmp_path, monkeypatch):
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    train(config(*SINUSOID), tmp_path / "whole")
    dice, going = random.Random(0), 0
    while True:
        countdown.__init__(dice.randint(1, 8), Stopped(signal.SIGINT))
        try:
            train(config(*SINUSOID, "resume=auto"), tmp_path / "often")
            break
        except Unfinished:
            going += 1
    assert going >= 4
    same(tmp_path / "whole", tmp_path / "often")


def test_a_changed_configuration_is_refused_and_named(stopped):
    with pytest.raises(UserError, match=r"algo.meta_batch: 2 -> 3\. .*allow_changes=true"):
        train(config(*SINUSOID, "algo.meta_batch=3", f"resume={stopped}"), stopped)
    train(config(*SINUSOID, "steps=30", f"resume={stopped}", "allow_changes=true"), stopped)
    assert json.loads((stopped / "result.json").read_text())["steps_taken"] == 30
    assert json.loads((stopped / "config.json").read_text())["config"]["steps"] == 30


@pytest.mark.parametrize(
    "change", every(3, ["steps=25", "data.amplitude=[0.1,2]", "eval.test_tasks=9", "norm=support", "seed=3"])
)
def test_a_complete_run_is_never_rewritten(stopped, change):
    train(config(*SINUSOID, f"resume={stopped}"), stopped)
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    train(config(*SINUSOID, f"resume={stopped}"), stopped)  # there is nothing left to do
    with pytest.raises(UserError, match=r"this run is complete .*a new run with init=.*metalearn.evaluate"):
        train(config(*SINUSOID, change, f"resume={stopped}", "allow_changes=true"), stopped)
    assert {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("steps=30", True),
        ("outer.clip=1.0", True),
        ("shot=5", False),
        ("data.amplitude=[0.1,2]", False),
        ("seed=3", False),
        ("eval.tasks=9", False),
        ("algo.inner_steps_test=3", False),
    ],
)
def test_the_best_is_not_kept_over_a_change_of_the_validation(stopped, change, kept, capfd):
    path = stopped / "checkpoints" / "last.pt"
    content = checkpoint.read(path)
    content["state"]["trainer"]["selection"]["best"]["score"]["mean"] = 0.0  # no later measurement is better
    del content["format"]
    path.write_bytes(checkpoint.pack(content))
    train(config(*SINUSOID, change, f"resume={stopped}", "allow_changes=true"), stopped)
    result = json.loads((stopped / "result.json").read_text())
    assert (result["val_mse"] == 0.0) is kept
    assert ("only new ones choose the best learner" in capfd.readouterr().out) is not kept
    scores = checkpoint.read(path)["state"]["trainer"]["optimizer"]["schedule"]["scores"]
    forgotten = [step for step, score in scores if score is None]  # a plateau does not compare later ones with earlier
    assert forgotten == ([] if kept else [14])


@pytest.mark.slow
def test_a_pause_at_a_rung_of_a_search_changes_no_rate(tmp_path):
    for name, rungs in (("whole", []), ("paused", [5, 15])):

        def report(step, loss, rungs=rungs):
            return f"rung {rungs.pop(0)}" if step in rungs else None

        for _ in range(len(rungs) + 1):
            with suppress(Paused):
                words = (*SINUSOID, PLATEAU, "outer.warmup=7", "resume=auto")
                launch(config(*words), tmp_path / name, Invocation(), controls={"report": Report(report)})
    same(tmp_path / "whole", tmp_path / "paused")


def test_other_pixels_under_the_same_names_are_other_data(tmp_path, monkeypatch):
    from dataclasses import replace

    from metalearn.data.image_set import from_array as made

    words = (
        "data=glyphs",
        "data.classes=[8,6,6]",
        "model.filters=2",
        "steps=6",
        "way=3",
        "eval.tasks=4",
        "eval.test_tasks=4",
        "eval.query=2",
        "eval.every=3",
    )
    stop(tmp_path / "run", monkeypatch, words=words, at=4)
    monkeypatch.setattr(
        "metalearn.data.glyphs.from_array",
        lambda pixels, *names: replace(made(pixels, *names), pixels=255 - made(pixels, *names).pixels),
    )
    with pytest.raises(UserError, match=r"the data set found: glyphs, .* -> glyphs, "):
        train(config(*words, "resume=auto"), tmp_path / "run")


def test_runs_started_in_the_same_second_have_folders_of_their_own(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: lock.new_folder(tmp_path / "run"), range(8)))
    assert len(set(folders)) == 8 and {f.name for f in folders} == {"run", *(f"run_{n}" for n in range(2, 9))}


def test_an_unfinished_run_is_claimed_by_one_process_alone(stopped):
    pattern = f"{stopped.parent}/${{now}}"
    node = config(*SINUSOID)
    assert run_folder.unfinished(pattern, node).found == stopped
    assert run_folder.unfinished(pattern, node) == (None, stopped, [])  # it is locked now; the scan passes it over
    with lock.hold(stopped):
        assert not lock.claim(stopped)
    assert lock.claim(stopped)
    with lock.hold(stopped):
        pass


def test_changes_that_cannot_be_leave_a_run_as_it_was(stopped):
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(UserError, match="other names or shapes"):
        train(config(*SINUSOID, "model.hidden=[9]", "resume=auto", "allow_changes=true"), stopped)
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.integration
def test_a_run_begun_from_python_goes_on_from_the_command_line(tmp_path):
    node = config(*SINUSOID, "steps=30") | {"seed": 7}  # a configuration that no words composed
    train(node | {"steps": 20}, tmp_path / "run")
    done = begin(tmp_path, "resume=run")
    out, error = done.communicate(timeout=600)
    assert done.returncode == 0, error
    assert "this run is complete" in out
    done = begin(tmp_path, "resume=run", "steps=4")
    assert "was started from Python" in done.communicate(timeout=600)[1] and done.returncode == 2


@pytest.mark.integration
def test_words_are_added_in_order_and_quoted(tmp_path):
    words = (*SINUSOID, "eval.test_tasks=4", "hydra.run.dir='it\\'s'", "+control.cycle.Patience.n=50")
    finished(tmp_path, *words)
    process = begin(tmp_path, "resume='it\\'s'", "~control.cycle.Patience")
    assert "control.cycle.Patience" in process.communicate(timeout=600)[1] and process.returncode == 2
    process = begin(tmp_path, "resume='it\\'s'", "~control.cycle.Patience", "steps=25", "allow_changes=true")
    assert "this run is complete" in process.communicate(timeout=600)[1] and process.returncode == 2


def test_a_signal_whose_terminal_is_gone_tears_no_step_apart(monkeypatch):
    def gone(*_):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", gone)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)  # SIGHUP may be ignored, as under nohup
        time.sleep(0.01)
        with pytest.raises(Stopped):
            signals.check()


def test_other_controls_go_on_with_another_cycle(stopped):
    words = ("steps=40", "allow_changes=true", "+control.cycle.NumberSinceBest.n=50", "resume=auto")
    train(config(*SINUSOID, *words), stopped)
    rows = [line.split(",") for line in (stopped / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows if row[3]] == [5, 10, 19, 24, 29, 34, 39, 40]  # a new cycle begins at step 14
    layers = [tuple(line.split(",")[:2]) for line in (stopped / "layers.csv").read_text().splitlines()]
    assert len(layers) == len(set(layers))


def test_other_parameters_are_refused(stopped):
    with pytest.raises(UserError, match="other names or shapes"):
        train(config(*SINUSOID, "model.hidden=[9]", f"resume={stopped}", "allow_changes=true"), stopped)


def test_a_run_is_never_overwritten(stopped):
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file() and file.name != ".lock"}
    with pytest.raises(UserError, match="already contains a run: resume it"):
        train(config(*SINUSOID), stopped)
    assert all(file.read_bytes() == content for file, content in before.items())


def test_other_data_are_refused(tmp_path, monkeypatch):
    """data=auto found Omniglot before, and finds none now."""
    words = (
        "data.glyphs.classes=[8,6,6]",
        "data.download=false",
        "data.root=nowhere",
        "model.filters=2",
        "steps=2",
        "way=3",
        "eval.tasks=2",
        "eval.test_tasks=2",
        "eval.query=2",
    )
    train(config(*words), tmp_path)
    noted = json.loads((tmp_path / "config.json").read_text())
    assert noted["data"].startswith("glyphs, ")
    (tmp_path / "config.json").write_text(json.dumps({**noted, "data": "omniglot, 0123"}))
    with pytest.raises(UserError, match="the data set found: omniglot, 0123 -> glyphs"):
        train(config(*words, f"resume={tmp_path}"), tmp_path)


def test_an_algorithm_that_draws_random_numbers_resumes_exactly(tmp_path, monkeypatch):
    from metalearn.algorithms.maml import MAML

    before = MAML.task_gradients

    def noisy(self, meta, batch):
        step = before(self, meta, batch)
        return step._replace(gradients={n: g + 0.01 * torch.randn_like(g) for n, g in step.gradients.items()})

    monkeypatch.setattr(MAML, "task_gradients", noisy)
    countdown = Countdown(-1, None)
    monkeypatch.setattr(Signals, "check", lambda self: countdown())
    train(config(*SINUSOID), tmp_path / "whole")
    countdown.__init__(12, Stopped(signal.SIGINT))
    assert resumed_at(tmp_path / "other", SINUSOID, countdown)
    same(tmp_path / "whole", tmp_path / "other")
