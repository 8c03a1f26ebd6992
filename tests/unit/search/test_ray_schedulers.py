"""Ray's schedulers as they are used here, with trials and a controller that are made up."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from metalearn.search.engine_settings import PopulationSettings
from metalearn.search.parse import parse
from tests.helpers.ray_cluster import need_ray
from tests.unit.search.test_ledger import ledger_in, make, progress

pytestmark = pytest.mark.slow  # Ray takes seconds to be imported
SPACE = parse(["lr=tag(log, interval(0.001, 1))", "norm=choice(batch, layer)"])


@pytest.fixture(autouse=True)
def _ray():
    need_ray()


class Trial:
    """A trial of Ray, as far as a scheduler looks at it."""

    def __init__(self, number, config=None):
        self.number, self.trial_id, self.config = number, str(number), config or {}
        self.status, self.is_saving, self.evaluated_params, self.experiment_tag = "PENDING", False, {}, ""
        kept = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
        self.run_metadata = SimpleNamespace(checkpoint_manager=kept)

    def is_finished(self):
        return self.status in ("TERMINATED", "ERROR")


class Controller:
    """Ray's controller, as far as a scheduler uses it."""

    search_alg = None

    def __init__(self, scheduler, trials):
        self.scheduler, self.trials = scheduler, trials
        for trial in trials:
            scheduler.on_trial_add(self, trial)

    def get_trials(self):
        return self.trials

    def get_live_trials(self):
        return [trial for trial in self.trials if not trial.is_finished()]

    def stop_trial(self, trial):
        if trial.status in ("PENDING", "PAUSED"):
            self.scheduler.on_trial_remove(self, trial)
        trial.status = "TERMINATED"

    def report(self, trial, time, score):
        """Report a score, and do what the scheduler decides."""
        trial.status = "RUNNING"
        decision = self.scheduler.on_trial_result(self, trial, {"time": time, "score": score})
        trial.status = {"PAUSE": "PAUSED", "STOP": "TERMINATED"}.get(decision, trial.status)
        if decision == "STOP":
            self.end(trial)
        return decision

    def end(self, trial):
        """End a trial by itself."""
        self.scheduler.on_trial_complete(self, trial, {})
        trial.status = "TERMINATED"


def test_a_bracket_does_not_wait_for_a_trial_that_failed_after_a_rung():
    from metalearn.search.on_ray.schedulers import Hyperband

    scheduler = Hyperband(time_attr="time", metric="score", mode="max", max_t=9, reduction_factor=3)
    trials = [Trial(number) for number in range(17)]
    controller = Controller(scheduler, trials)
    last = trials[8:]  # 3 trials train to their end, 5 compete in a bracket, 9 in the next
    for trial in last:
        controller.report(trial, 1, trial.number)
    assert [trial.status for trial in last] == ["TERMINATED"] * 6 + ["PAUSED", "PAUSED", "RUNNING"]
    for trial in last[6:8]:
        assert controller.report(trial, 3, trial.number) == "PAUSE"
    controller.end(last[8])
    assert [trial.status for trial in last[6:]] == ["TERMINATED", "PAUSED", "TERMINATED"]
    for trial in trials[:8]:
        trial.status = "TERMINATED"
    assert scheduler.choose_trial_to_run(controller) is last[7], "the best of the rest is resumed"


def test_a_bracket_is_full_once_it_has_had_its_trials():
    from metalearn.search.on_ray.schedulers import Hyperband

    scheduler = Hyperband(time_attr="time", metric="score", mode="max", max_t=9, reduction_factor=3)
    trials = [Trial(number) for number in range(4)]
    controller = Controller(scheduler, [])
    for trial in trials[:3]:  # one after another, each to its end
        scheduler.on_trial_add(controller, trial)
        assert controller.report(trial, 8, 1) == "CONTINUE"
        controller.end(trial)
    scheduler.on_trial_add(controller, trials[3])
    assert controller.report(trials[3], 1, 1) == "CONTINUE"
    scheduler.on_trial_add(controller, Trial(4))
    assert controller.report(trials[3], 3, 1) == "PAUSE", "the fourth competes in the second bracket"


def population(count, begin=0.0):
    from metalearn.search.on_ray.schedulers import Population

    settings = PopulationSettings(every=None, quantile=0.5, resample=0.0, factors=[0.5])
    orders = {number: make(number, {"lr": 0.1 * (number + 1), "norm": "layer"}, []) for number in range(count)}

    def order(number, values):
        orders[number] = make(number, values, [])
        return orders[number]

    scheduler = Population(SPACE, settings, every=1.0, begin=begin, order=order, seed=0)
    scheduler.set_search_properties("score", "max")
    return scheduler, [Trial(number, orders[number].spell()) for number in range(count)], orders


def test_a_member_takes_over_a_better_one_and_keeps_its_number():
    scheduler, (bad, good), orders = population(2)
    Controller(scheduler, [bad, good])
    config, _ = scheduler._get_new_config(bad, good)
    sent = json.loads(config["order"])
    assert sent["number"] == 0 and sent["settings"] == {"lr": 0.1, "norm": sent["settings"]["norm"]}, "half of 0.2"
    assert orders[0].settings == sent["settings"] and orders[1].settings["lr"] == 0.2


def test_members_that_resume_at_different_steps_wait_for_each_other_but_not_for_ever(monkeypatch):
    scheduler, (one, other), _ = population(2)
    controller = Controller(scheduler, [one, other])

    def exploit(trial, controller, upper, lower):  # what Ray does to the clock of a member that takes over another
        for state in scheduler._trial_state.values():
            state.last_train_time = 3.0

    monkeypatch.setattr(scheduler, "_checkpoint_or_exploit", exploit)
    controller.report(one, 2.0, 0.5)
    assert scheduler.choose_trial_to_run(controller) is other, "one waits at the exchange, the other trains towards it"
    controller.report(other, 3.0, 0.7)
    assert scheduler.choose_trial_to_run(controller) is not None, "after the exchange one of them trains on"


@pytest.mark.parametrize(("begin", "first"), [(0.0, 1.0), (2.0, 3.0), (2.5, 3.0)])
def test_a_resumed_population_exchanges_first_after_its_most_advanced_member(begin, first):
    scheduler, trials, _ = population(2, begin)
    controller = Controller(scheduler, trials)
    exchanged = []
    scheduler._checkpoint_or_exploit = lambda trial, *rest: exchanged.append(trial)
    controller.report(trials[0], first - 0.5, 0.5)
    controller.report(trials[1], first, 0.5)
    assert not exchanged
    controller.report(trials[0], first, 0.5)
    assert len(exchanged) == 2


def test_a_trial_that_is_given_up_says_why(tmp_path):
    from metalearn.search.on_ray.listening import _why

    file = tmp_path / "error.txt"
    for text, words in (
        ("Failure # 1\nThe actor died unexpectedly before finishing this task.\n  pid: 7\n", "its processes were lost"),
        ("Failure # 1\nray::Training.train()\nOSError: disk full\n", "its processes were lost: OSError: disk full"),
    ):
        file.write_text(text)
        assert _why(SimpleNamespace(error_file=str(file))) == words
    assert _why(SimpleNamespace(error_file=None)) == "its processes were lost"


def test_a_search_that_stops_waits_until_its_trials_are_saved(tmp_path):
    from metalearn.runtime.signals import Signals, Stopped
    from metalearn.search.on_ray.listening import Listening

    signals, ledger = Signals(), ledger_in(tmp_path, trials=2)
    orders = [ledger.next(), ledger.next()]
    trials = [Trial(order.number, order.spell()) for order in orders]
    trials[0].status = "RUNNING"
    listening = Listening(ledger, signals, tmp_path / "stop")
    listening.on_step_begin(0, trials)
    assert not listening.stopping and not (tmp_path / "stop").exists()
    signals._asked = 15
    listening.on_step_begin(1, trials)
    assert listening.stopping and (tmp_path / "stop").exists()

    def report(**other):
        sent = progress(orders[0], 3, 0.5, **other)
        result = {"report": json.dumps(sent.__dict__), "node_ip": "a", "pid": 1}
        listening.on_trial_result(1, trials, trials[0], result)
        listening.on_trial_save(1, trials, trials[0])

    report()  # a validation that was on its way when the signal came: the trial trains on from here
    listening.on_step_begin(2, trials)
    report(stopped=True, losses=[])
    with pytest.raises(Stopped):
        listening.on_step_begin(3, trials)


def test_usage_reports_are_off_whatever_the_environment_says():
    code = ("import metalearn.search.on_ray.cluster, ray; from ray._common.usage import usage_lib; "
            "print(usage_lib.usage_stats_enabled())")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "RAY_USAGE_STATS_ENABLED": "1"})  # fmt: skip
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize("failures", [0, 2, 3])
def test_a_node_that_is_slow_to_start_is_started_again(failures, monkeypatch):
    from metalearn.runtime.errors import UserError
    from metalearn.search.on_ray import cluster

    tried = []

    def init(**_):
        tried.append(1)
        if len(tried) <= failures:
            raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(cluster.ray, "init", init)
    one = cluster.Cluster(address=None, storage=None, cpu=1, gpu=0, workers=1)
    if failures < 3:
        with one.started():
            assert len(tried) == failures + 1
        return
    with pytest.raises(UserError, match=r"^search.engine=ray: The current node timed out"), one.started():
        pass
    assert len(tried) == 3
