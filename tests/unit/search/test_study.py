"""A study: what counts as a trial, what a failure leaves, and what a changed command may not resume."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from metalearn.runtime.errors import Unfinished, UserError
from metalearn.runtime.signals import Stopped
from metalearn.search.records import MESSAGE, SECONDS, WITHDRAWN, WORKER, counted, number
from metalearn.search.results import best
from metalearn.search.storage import open_record, quiet_optuna
from metalearn.search.workers import turn
from tests.unit.search.toys import ACCURACY, MIXED, MSE, accuracy, drawn, dying_after, run, study_in


def states(study):
    return [trial.state.name for trial in study.records()]


def test_trials_is_a_total_over_sessions(tmp_path):
    for total, done in ((3, 3), (3, 3), (5, 5), (4, 5)):
        run(study_in(tmp_path, trials=total))
        assert len(study_in(tmp_path).records()) == done


def test_failed_trials_do_not_count_and_pruned_ones_do(tmp_path):
    import optuna

    study = study_in(tmp_path, trials=6, pruner=optuna.pruners.ThresholdPruner(lower=0.5))

    def evaluate(candidate):
        if candidate.number == 1:
            raise UserError("way=100: too many")
        from tests.unit.search.toys import Toys

        return Toys(4, 1, lambda c: 0.1 if c.number in (2, 3) else 1.0)(candidate)

    run(study, evaluate)
    assert states(study) == ["COMPLETE", "FAIL", "PRUNED", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert len(counted(study.records())) == 6 and [number(t) for t in study.failed()] == [1]
    assert study.failed()[0].user_attrs[MESSAGE] == "way=100: too many"
    assert [t.last_step for t in study.records()] == [4, None, 1, 1, 4, 4, 4]


def test_a_running_trial_is_reserved(tmp_path):
    study = study_in(tmp_path, trials=2)
    begun = []

    def evaluate(candidate):
        begun.append(candidate.number)
        while len(begun) < 5 and study.run_next(evaluate):
            pass
        assert not study.run_next(evaluate)  # two run: there is no third
        assert study.more()  # but others may leave one
        return accuracy(candidate)

    with quiet_optuna():
        study.run_next(evaluate)
    assert begun == [0, 1] and states(study) == ["COMPLETE"] * 2 and not study.more()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("two\n lines"), r"RuntimeError: two lines \(.*test_study.py:"),
        (UserError("one line"), "one line$"),
        (MemoryError(), "MemoryError: .*test_study.py:"),
        (AssertionError("x"), "AssertionError: x "),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_failure_is_recorded_and_the_study_continues(error, message, tmp_path):
    import re

    def evaluate(candidate):
        if candidate.number == 0:
            raise error
        return accuracy(candidate)

    study = study_in(tmp_path, trials=2)
    run(study, evaluate)
    assert states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert re.match(message, study.failed()[0].user_attrs[MESSAGE])


@pytest.mark.parametrize("scores", [[float("nan")], [float("inf")], [0.5, 0.5], []])
def test_a_score_that_is_no_number_is_a_failure(scores, tmp_path):
    study = study_in(tmp_path, trials=1)
    run(study, lambda candidate: scores, failures=0)
    assert states(study) == ["FAIL"] and study.failed()[0].user_attrs[MESSAGE]


@pytest.mark.parametrize("end", [Stopped(15), KeyboardInterrupt(), OSError(28, "full"), Unfinished("stopped", 1, Path(), 143)],
                         ids=lambda e: type(e).__name__)  # fmt: skip
def test_an_interrupted_trial_waits_and_is_the_next(end, tmp_path):
    def evaluate(candidate):
        if candidate.number == 1:
            raise end
        return accuracy(candidate)

    study = study_in(tmp_path, trials=3)
    with pytest.raises(type(end)):
        run(study, evaluate)
    assert states(study) == ["COMPLETE", "WAITING"]
    again = study_in(tmp_path, trials=3)
    begun = []
    run(again, lambda candidate: begun.append(candidate.number) or accuracy(candidate))
    assert begun == [1, 2]
    whole = study_in(None, trials=3)
    run(whole)
    assert drawn(again) == drawn(whole)


def test_seconds_add_up_over_sessions(tmp_path):
    def evaluate(candidate):
        time.sleep(0.05)
        if not done:
            done.append(True)
            raise Stopped(15)
        return accuracy(candidate)

    done = []
    with pytest.raises(Stopped):
        run(study_in(tmp_path, trials=1), evaluate)
    study = study_in(tmp_path, trials=1)
    run(study, evaluate)
    assert study.records()[0].user_attrs[SECONDS] >= 0.1


def test_the_trials_of_a_killed_worker_are_given_back_and_no_others(tmp_path):
    """Also one that died before it left its name; the trial of a living worker stays."""
    first, second = study_in(tmp_path, trials=4, worker="1"), study_in(tmp_path, trials=4, worker="2")

    third = study_in(tmp_path, trials=4, worker="2")
    for study, writes in ((first, 5), (second, 5), (third, 1)):
        with quiet_optuna(), dying_after(writes):
            study.run_next(accuracy)
    assert states(first) == ["RUNNING"] * 3 and WORKER not in first.records()[2].user_attrs
    study_in(tmp_path).recover("2")
    assert states(study_in(tmp_path)) == ["RUNNING", "WAITING", "WAITING"]
    study_in(tmp_path).recover()
    assert states(study_in(tmp_path)) == ["WAITING"] * 3


def test_a_trial_given_back_and_taken_again_belongs_to_its_last_worker(tmp_path):
    """Worker 2 dies after it took the trial that worker 1 gave back, before it left its own name."""
    with pytest.raises(Stopped):
        study_in(tmp_path, worker="1").run_next(lambda candidate: (_ for _ in ()).throw(Stopped(15)))
    second = study_in(tmp_path, worker="2")
    with dying_after(1):
        second.run_next(accuracy)
    assert states(study_in(tmp_path)) == ["RUNNING"]
    study_in(tmp_path).recover("2")
    assert states(study_in(tmp_path)) == ["WAITING"]


def test_a_trial_that_was_lost_before_it_had_a_number_has_its_own_when_it_is_tried_again(tmp_path):
    from metalearn.search.copies import add_again

    study = study_in(tmp_path, trials=4)
    with quiet_optuna():
        study.run_next(accuracy)
        with dying_after(1):
            study.run_next(accuracy)
        study.run_next(accuracy)
        study.record.tell(1, state=TrialState.FAIL)  # as a storage with heartbeats does
        add_again(study.record, study.records()[1], {})
    run(study)
    assert sorted(number(t) for t in study.latest().values()) == [0, 1, 2, 3]
    assert [number(t) for t in study.records() if t.state == TrialState.COMPLETE] == [0, 2, 1, 3]


def test_the_best_come_first(tmp_path):
    scores = [0.3, 0.7, 0.5, 0.7]
    for goal, order in ((ACCURACY, [1, 3, 2, 0]), (MSE, [0, 2, 1, 3])):
        study = study_in(None, trials=4, goals=(goal,))
        run(study, lambda candidate: [scores[candidate.number]])
        assert [number(t) for t in best(study, 9)] == order and len(best(study, 2)) == 2


def test_a_study_with_another_spec_is_refused(tmp_path):
    study = study_in(tmp_path, sampler="random")
    run(study)
    with pytest.raises(UserError) as error, quiet_optuna():
        study_in(tmp_path, sampler="tpe")
    assert str(error.value).startswith(
        f"{tmp_path}: the study there was begun with other settings (sampler: random -> tpe);"
    )
    parts = (study.record.sampler, study.record.pruner, ["maximize"])
    with pytest.raises(UserError, match="seed: none -> 3"), quiet_optuna():
        open_record(tmp_path, {"sampler": "random", "seed": 3}, *parts)
    assert states(study_in(tmp_path)) == ["COMPLETE"] * 8  # and nothing is lost


# Processes


def _work(folder: str, name: str, trials: int, lock: bool, fail: bool) -> None:
    random.seed(os.getpid())

    def evaluate(candidate):
        with open(Path(folder) / "begun.txt", "a") as file:
            file.write(f"{candidate.number}\n")
        time.sleep(random.random() / 50)
        if fail and candidate.number % 5 == 3:
            raise RuntimeError("no")
        return accuracy(candidate)

    from contextlib import nullcontext

    from metalearn.search import study_loop

    exclusive = (lambda: turn(Path(folder))) if lock else nullcontext
    study = study_in(Path(folder), MIXED, "random", trials=trials, worker=name, exclusive=exclusive)
    with quiet_optuna():
        study_loop.run(study, evaluate, failures=100)


def _together(folder, count, *settings):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(str(folder), str(n), *settings)) for n in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


@pytest.mark.integration
@pytest.mark.parametrize(("lock", "fail"), [(True, True), (False, False)], ids=["in turn", "without a lock"])
def test_four_processes_never_begin_trial_41_of_40(lock, fail, tmp_path):
    study_in(tmp_path)  # created once
    _together(tmp_path, 4, 40, lock, fail)
    study = study_in(tmp_path, trials=40)
    begun = [int(line) for line in (tmp_path / "begun.txt").read_text().split()]
    assert len(set(begun)) == len(begun)  # no number twice
    complete = [t for t in study.records() if t.state == TrialState.COMPLETE]
    assert len(complete) == 40 and len(begun) == 40 + len(study.failed()) and not study.more()
    assert sorted(begun) == sorted(number(t) for t in study.latest().values())
    withdrawn = [t for t in study.records() if WITHDRAWN in t.user_attrs]
    assert len({t.user_attrs[WORKER] for t in complete}) == 4 and not (lock and withdrawn)
