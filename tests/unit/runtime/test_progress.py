"""A run shows that it is alive, however slow its meta-steps are."""

import json
from dataclasses import replace
from functools import wraps

import pytest

from metalearn.controls import make_all
from metalearn.controls.loop import ControlLoop
from metalearn.lifecycle.launch import train
from metalearn.runtime import progress
from tests.helpers.configs import config
from tests.helpers.training import trainer_of


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def training_of(folder, clock, seconds, cycle, *, limit=100, log_every=50, **given):
    """A training of one weight, each meta-step of which takes so many seconds, and its controls."""

    def wait():
        clock.now += seconds

    training = trainer_of(folder / "a", limit=limit, log_every=log_every, step=wait, **given)
    return training, ControlLoop(training, make_all(cycle))


def test_a_checkpoint_is_written_every_minute_however_slow_the_steps_are(tmp_path, clock):
    saved = []
    training, iteration = training_of(tmp_path, clock, 40.0, {"Step": {"n": 100}, "Save": {"seconds": 60.0}}, limit=10)
    save, training.save = training.save, lambda file: (saved.append(training.step), save(file))
    iteration.run()
    assert saved[:4] == [2, 4, 6, 8]  # between two rows


def test_a_time_limit_stops_between_two_rows_and_loses_none(tmp_path, clock):
    training, iteration = training_of(tmp_path, clock, 600.0, {"Step": {"n": 100}, "TimeLimit": {"hours": 1.0}})
    stop = iteration.run()
    training.finish(stop)
    assert (stop.control, training.step) == ("TimeLimit", 6)
    assert [row["step"] for row in training.record.rows] == [6] and training.record.rows[0]["train_loss"] == 1.0


def test_rows_stay_at_multiples_of_log_every(tmp_path, clock):
    training, iteration = training_of(tmp_path, clock, 1.0, {"Step": {"n": 7}}, limit=14, log_every=3)
    iteration.run()
    assert [row["step"] for row in training.record.rows] == [3, 6, 7, 9, 12, 14]


def test_the_rate_of_a_row_is_the_one_that_its_last_step_used(tmp_path, clock):
    training, iteration = training_of(tmp_path, clock, 1.0, {"Step": {"n": 2}}, limit=4, log_every=2, schedule="linear")
    iteration.run()
    assert [row["lr"] for row in training.record.rows] == [0.75, 0.25]  # 1, 0.75, 0.5, 0.25


def test_the_bar_moves_with_every_step_and_knows_the_end_from_the_second_on(clock):
    shown, bar = [], progress.Progress(clock)
    bar._update = lambda task, done, values: shown.append((done, str(bar._pace)))
    with bar.training(10):
        for step in range(1, 5):
            clock.now += 40.0
            bar.step(step)
        clock.now += 15.0
        assert str(bar._pace) == "2:55<3:45"  # the clock moves between two steps
    assert shown == [(1, "0:40<-:--"), (2, "1:20<5:20"), (3, "2:00<4:40"), (4, "2:40<4:00")]


def test_the_time_is_drawn_anew_between_two_steps(clock):
    bar = progress.Progress(clock)
    with bar.training(10):
        (task,) = bar._bar.tasks
        drawn = [column for column in bar._bar.columns if type(column).__name__ == "Time"]
        clock.now += 7.0
        assert [str(column(task)) for column in drawn] == ["0:07<-:--"]
        clock.now += 1.0
        assert [str(column(task)) for column in drawn] == ["0:08<-:--"]


def test_the_loss_is_shown_from_the_first_step_and_read_once_a_second(clock, monkeypatch):
    monkeypatch.setattr(progress.console(), "_force_terminal", True)
    asked, shown, bar = [], [], progress.Progress(clock)
    bar._update = lambda task, done, values: shown.append(values)

    def values():
        asked.append(clock.now)
        return {"train_loss": 2.0 / len(asked), "tasks_per_second": 8.0}

    with bar.training(10):
        for step in range(1, 8):
            clock.now += 0.4
            bar.step(step, values)
    assert shown[0] == "loss 2.0000  8 tasks/s" and len(asked) == 3 and shown[-1] == "loss 0.6667  8 tasks/s"


def test_a_slow_training_tells_its_loss_in_a_log(tmp_path, clock, capfd):
    training, iteration = training_of(tmp_path, clock, 40.0, {"Step": {"n": 100}}, limit=4)
    training.progress = progress.Progress(clock)
    with training.progress.training(4):
        iteration.run()
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(lines) == 2 and all("loss 1.0000" in line and "tasks/s" in line for line in lines)


def test_a_work_that_a_log_tells_of_is_told_to_its_end(clock, capfd):
    bar = progress.Progress(clock)
    with bar.counting("pictures", 4) as report:
        for done in range(4):
            report(done)
            clock.now += 25.0
    with bar.counting("quick", 4) as report:
        report(2)
    assert capfd.readouterr().out.splitlines() == [
        "pictures 3/4  75 s elapsed, about 25 s left",
        "pictures 4/4  2 min elapsed, about 0 s left",
    ]


def test_a_log_file_has_the_expected_time_and_a_line_a_minute(clock, capfd):
    bar = progress.Progress(clock)
    with bar.training(60000):
        for step in range(1, 10):
            clock.now += 20.0
            bar.step(step)
        bar.values({"train_loss": 1.25, "tasks_per_second": 8.0})
        with bar.counting("validation", 200) as report:
            for done in range(0, 200, 50):
                clock.now += 30.0
                report(done)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == (
        "expected time on this machine: about 13 d 21 h for 59998 meta-steps (20.0 s each), without validation and test"
    )
    assert lines[1] == "step 3/60000  1 min elapsed, about 13 d 21 h left".replace("1 min", "60 s")
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "step 3/60000",
        "step 6/60000",
        "step 9/60000",
        "validation 50/200",
        "validation 150/200",
        "validation 200/200",
    ]


@pytest.mark.parametrize(("remaining", "announced"), [(9.0, False), (11.0, True)])
def test_only_a_long_training_announces_its_time(remaining, announced, clock, capfd):
    assert progress.ANNOUNCED_SECONDS == 10
    bar = progress.Progress(clock)
    with bar.training(120):
        for step in range(1, 121):  # the estimate is made after 20 steps
            clock.now += remaining / 100
            bar.step(step)
    assert ("expected time" in capfd.readouterr().out) is announced


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (700, "12 min"), (12000, "3 h 20 min"), (1e6, "11 d 13 h")]
)
def test_times_are_told_in_units_of_people(seconds, words):
    assert progress.duration(seconds) == words


def test_validation_and_test_move_the_bar(tmp_path, monkeypatch):
    seen = []
    update = progress.Progress._update
    monkeypatch.setattr(
        progress.Progress,
        "_update",
        lambda self, task, done, *a: (seen.append((task, done)), update(self, task, done, *a)),
    )
    train(
        config(
            "data=glyphs",
            "data.classes=[8,6,6]",
            "model.filters=2",
            "steps=2",
            "eval.tasks=4",
            "way=3",
            "eval.test_tasks=4",
            "engine.chunk=2",
            "eval.query=2",
        ),
        tmp_path / "run",
    )
    tasks = {task for task, _ in seen}
    assert len(tasks) == 4  # training, validation, test, nearest neighbour
    assert sum(done == 2 for _, done in seen) >= 3  # in the middle of training, validation and test


@pytest.mark.slow
def test_without_a_test_the_test_classes_are_left_alone(tmp_path, monkeypatch, pictures):
    from metalearn.data import glyphs

    load = glyphs.load

    @wraps(load)
    def guarded(**settings):
        dataset = load(**settings)

        def source(part, seed, device):
            assert part != "test", "the test classes were touched"
            return dataset.source(part, seed, device)

        return replace(dataset, source=source)

    monkeypatch.setattr("metalearn.data.glyphs.load", guarded)
    words = (
        "data=glyphs",
        "data.classes=[8,6,6]",
        "model.filters=2",
        "steps=2",
        "eval.tasks=4",
        "way=3",
        "eval.query=2",
    )
    value = train(config(*words, "test=false"), tmp_path / "run").score
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert value == result["val_accuracy"]
    assert not [name for name in result if name.startswith("test") or name in ("adaptation_curve", "confused")]
    assert (tmp_path / "run" / "curves.png").exists() and not (tmp_path / "run" / "tasks.png").exists()
    with pytest.raises(AssertionError, match="touched"):
        train(config(*words, "eval.test_tasks=4"), tmp_path / "other")
