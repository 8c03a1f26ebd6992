"""Iteration controls: each stops where its definition says, alone, composed, and in a run that was resumed."""

import json
import math

import pytest

from metalearn import controls
from metalearn.config.groups import choices
from metalearn.controls import make, make_all
from metalearn.controls.loop import ControlLoop, Failed
from metalearn.runtime.errors import UserError
from tests.helpers.configs import config

called = []  # what the functions below were given


def note(argument):
    called.append(argument)


def enough(argument):
    called.append(argument)
    return len(called) >= 3


def high(run):
    return run.loss > 0.5


class Counting(controls.Control):
    """A control of somebody's own, which counts for itself."""

    def __init__(self, *, n: int):
        self.n, self.count = n, 0

    def apply(self, run):
        self.count += 1
        return f"counted to {self.n}" if self.count >= self.n else None

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]


class Script:
    """An iterative model that knows its losses beforehand: `losses[i]` at the i-th measurement, by the step."""

    def __init__(self, losses, training=(), limit=1000, every=1, seconds_a_step=1.0, invalid_at=None):
        self.losses, self.training, self.limit, self.every = list(losses), list(training), limit, every
        self.step, self.invalid, self.invalid_at, self.saved = 0, None, invalid_at, []
        self.seconds_a_step, self.stop_at = seconds_a_step, None

    @property
    def seconds(self):
        return self.step * self.seconds_a_step

    @property
    def values(self):
        return {"step": self.step, "grad_norm": float(self.step)}

    names = ("step", "grad_norm")

    def train(self, until):
        self.step += 1
        if self.step == self.invalid_at:
            self.invalid = f"the query loss of meta-step {self.step} is NaN"
        if self.step == self.stop_at:
            raise InterruptedError

    def measure(self):
        return self.losses[(self.step - 1) // self.every]

    def training_losses(self, after):
        return self.training[after : self.step]

    def save(self, file):
        self.saved.append(file)

    def learner(self):
        return f"the learner of step {self.step}"


def iteration(model, cycle):
    return ControlLoop(model, make_all(cycle))


def stops(cycle, losses, **settings):
    """After how many measurements, one a step, these controls stop; None where the losses run out."""
    model = Script(losses, limit=len(losses), **settings)
    stop = iteration(model, {"Step": {"n": 1}, "Evaluate": {}, **cycle}).run()
    return (None if stop.control == "steps" else model.step), stop


#        which                    at the losses                                     stops after
CASES = [
    ({"NumberLimit": {"n": 3}}, [5, 4, 3, 2, 1], 3),
    ({"Patience": {"n": 2}}, [9, 8, 9, 10, 7], 4),
    ({"Patience": {"n": 2}}, [9, 10, 9, 10, 9], None),  # never two increases one after the other
    ({"Patience": {"n": 1}}, [9, 9, 9, 9.1], 4),  # staying the same is no increase
    ({"NumberSinceBest": {"n": 3}}, [5, 4, 6, 4.5, 7, 3], 5),
    ({"NumberSinceBest": {"n": 3}}, [5, 4, 6, 3, 7, 6], None),
    ({"NumberSinceBest": {"n": 2}}, [math.nan, 5, 6, 7], 4),
    ({"Threshold": {"value": 0.5}}, [0.9, 0.5, 0.4], 3),
    ({"GL": {"alpha": 10.0}}, [1.0, 2.0], 2),
    ({"GL": {"alpha": 10.0}}, [2.0, 1.0, 1.05, 1.09, 1.11], 5),  # 100 (1.11 / 1 - 1) = 11 > 10
    ({"GL": {"alpha": 10.0}}, [1.0, 0.0, 0.001], 3),  # nothing generalises like a loss of 0
    ({"TimeLimit": {"hours": 3 / 3600}}, [5, 4, 3, 2, 1], 3),
    ({"WarmUp": {"n": 2, "control": {"Patience": {"n": 1}}}}, [1, 2, 3, 4, 5], 4),  # 3 is its first loss
    ({"WarmUp": {"n": 2, "control": {"NumberLimit": {"n": 2}}}}, [1, 2, 3, 4, 5], 4),
    ({"WarmUp": {"n": 2, "control": {"TimeLimit": {"hours": 2 / 3600}}}}, [1, 2, 3, 4, 5], 4),
    ({"WarmUp": {"n": 3, "control": {"GL": {"alpha": 10.0}}}}, [1, 2, 9, 8, 8.5, 9], 6),
    ({"Skip": {"n": 3, "control": {"NumberLimit": {"n": 1}}}}, [1, 2, 3, 4], 3),
    ({"Patience": {"n": 3}, "Threshold": {"value": 2.5}}, [5, 4, 3, 2, 1], 4),
    ({"Warn": {"predicate": "loss > 3", "message": "high"}}, [5, 4, 3], None),
    ({"Skip": {"n": 2, "control": {"NumberLimit": {"n": 2}}}}, [1, 2, 3, 4, 5], 4),  # it counts its own applications
    ({"Skip": {"n": 2, "control": {"Patience": {"n": 1}}}}, [1, 5, 9, 4, 9, 5, 1], 6),  # of 5, 4, 5
    ({"mine": {"_target_": "tests.unit.controls.test_controls.Counting", "n": 4}}, [5, 4, 3, 2, 1], 4),
    ({"Callback": {"f": "tests.unit.controls.test_controls.enough", "stop_if_true": True}}, [5, 4, 3, 2, 1], 3),
    ({"Callback": {"f": "tests.unit.controls.test_controls.enough"}}, [5, 4, 3, 2, 1], None),
    ({"InvalidValue": {}}, [5, math.inf, 3], 2),
]  # fmt: skip


@pytest.mark.parametrize(("cycle", "losses", "expected"), CASES)
def test_where_a_control_stops(cycle, losses, expected):
    called.clear()
    steps, stop = stops(cycle, losses)
    assert steps == expected
    assert stop.control == ("steps" if expected is None else list(cycle)[-1]) and stop.reason


@pytest.mark.parametrize(
    ("predicate", "step"),
    [("loss >= 4", 1), ("tests.unit.controls.test_controls.high", 1), ("grad_norm == 2", 2), ("step > 2", 3)],
)
def test_an_error_ends_the_run(predicate, step):
    model = Script([5, 4, 3], limit=3)
    with pytest.raises(Failed, match="it is wrong"):
        iteration(
            model, {"Step": {"n": 1}, "Evaluate": {}, "Error": {"predicate": predicate, "message": "it is wrong"}}
        ).run()
    assert model.step == step


def test_pq_is_generalization_loss_over_progress():
    """Prechelt 1998: GL = 100 (E / E_opt - 1); P_k = 1000 (mean of the last k training losses / their smallest - 1)."""
    losses, training = [1.0, 0.8, 0.84, 0.88], [2.0, 1.5, 1.02, 1.0]
    for after, alpha, expected in ((3, 0.01, True), (3, 0.03, False), (4, 0.03, True)):
        # after 3: GL = 5, P_3 = 1000 (1.50667 / 1.02 - 1) = 477.1: 0.0105; after 4: GL = 10, P_3 = 173.3: 0.0577
        steps, _ = stops({"PQ": {"alpha": alpha, "k": 3}}, losses[:after], training=training)
        assert (steps == after) == expected, (after, alpha)
    assert stops({"PQ": {"alpha": 0.01, "k": 5}}, losses, training=training)[0] is None  # the strip is not yet full
    late = {"WarmUp": {"n": 2, "control": {"PQ": {"alpha": 0.01, "k": 3}}}}  # nor with what it has heard of: 1.02 and 1
    assert stops(late, losses, training=training)[0] is None


@pytest.mark.parametrize(("cycle", "losses", "expected"), CASES)
def test_a_resumed_iteration_stops_where_the_other_did(cycle, losses, expected):
    cycle = {"Step": {"n": 2}, "Evaluate": {}, **cycle}
    called.clear()
    model = Script(losses, limit=2 * len(losses), every=2)
    whole = iteration(model, cycle)
    stop = whole.run()
    for at in range(1, model.step + 1):  # in the middle of a Step, and at its end
        called.clear()
        other = Script(losses, limit=2 * len(losses), every=2)
        other.stop_at = at
        first = iteration(other, cycle)
        with pytest.raises(InterruptedError):
            first.run()
        again = iteration(other, cycle)
        again.restore(json.loads(json.dumps(first.state())))  # nothing but plain values
        assert again.run() == stop and other.step == model.step
        assert json.dumps(again.state()) == json.dumps(whole.state())


def test_a_step_is_finished_after_a_resumption_and_not_begun_anew():
    model = Script([0] * 9, limit=9)
    model.stop_at = 5
    first = iteration(model, {"Step": {"n": 3}, "Evaluate": {}})
    with pytest.raises(InterruptedError):
        first.run()
    again = iteration(model, {"Step": {"n": 3}, "Evaluate": {}})
    again.restore(first.state())
    again.run()
    assert [cycle["step"] for cycle in again.state()["cycles"][:2]] == [3, 6]


def test_controls_are_applied_in_order_and_a_stop_ends_the_cycle():
    called.clear()
    call = {"f": "tests.unit.controls.test_controls.note"}
    cycle = {"Step": {"n": 1}, "WithTrainingLosses": call, "Evaluate": {}, "WithLoss": call, "NumberLimit": {"n": 2},
             "WithModel": call}  # fmt: skip
    iteration(Script([5, 4, 3], training=[50, 40, 30]), cycle).run()
    assert called == [[50], 5, "the learner of step 1", [40], 4]


def test_what_is_not_measured_is_not_read():
    """With an evaluation in every third cycle, criteria see those losses alone."""
    called.clear()
    cycle = {"Step": {"n": 1}, "Skip": {"n": 3, "control": {"Evaluate": {}}}, "Patience": {"n": 1},
             "WithLoss": {"f": "tests.unit.controls.test_controls.note"}}  # fmt: skip
    model = Script([5, 9, 4, 9, 9, 3, 1, 1, 3.5, 0], limit=10)
    stop = iteration(model, cycle).run()
    assert stop.control == "Patience" and model.step == 9 and called == [4, 3]


def test_time_and_nans_are_seen_in_the_middle_of_a_step():
    model = Script([0], seconds_a_step=1)
    stop = iteration(model, {"Step": {"n": 500}, "TimeLimit": {"hours": 7 / 3600}}).run()
    assert (stop.control, model.step) == ("TimeLimit", 7)
    model = Script([0], invalid_at=11)
    stop = iteration(model, {"Step": {"n": 500}, "InvalidValue": {}, "Save": {}}).run()
    assert (stop.control, model.step, model.saved) == ("InvalidValue", 11, []) and "meta-step 11" in stop.reason


def test_save_by_the_clock_and_under_a_name(monkeypatch):
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    model = Script([0], limit=40)
    cycle = {
        "Step": {"n": 20},
        "Save": {"seconds": 60.0},
        "keep": {"_target_": "metalearn.controls.Save", "file": "step_{step}.pt"},
    }
    iteration(model, cycle).run()
    assert {"step_20.pt", "step_40.pt"} < set(model.saved) and model.saved.count("last.pt") > 4


def test_information_is_shown(capsys):
    cycle = {"Step": {"n": 1}, "Evaluate": {}, "Info": {"f": "grad_norm"},
             "Warn": {"predicate": "loss < 3", "message": "it is low"}}  # fmt: skip
    iteration(Script([5, 2], limit=2), cycle).run()
    said = capsys.readouterr().out.splitlines()
    assert said == ["step 1: grad_norm 1.0", "step 2: grad_norm 2.0", "WARNING: step 2: it is low"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Patiense", {"n": 1}, "unknown control; choose from Step"),
        ("Patience", {"n": 0}, "must be at least 1"),
        ("Patience", {"n": "x"}, "must be a whole number"),
        ("Patience", 5, "expects a group of settings"),
        ("Patience", {}, "a value is needed"),
        ("GL", {"alpha": -1}, "must be above 0"),
        ("PQ", {"alpha": 1, "k": 1}, "must be at least 2"),
        ("TimeLimit", {"hours": 0}, "must be above 0"),
        ("Save", {"file": "../x.pt"}, "must be a file name"),
        ("Save", {"file": "best.pt"}, "is written automatically"),
        ("Callback", {"f": "nowhere.at_all"}, "cannot be imported"),
        ("Callback", {"f": "math.pi"}, "is not a class or a function"),
        ("Warn", {"predicate": "loss is high"}, "must be a comparison"),
        ("WarmUp", {"n": 1, "control": {}}, "must be one control"),
        ("WarmUp", {"n": 1, "control": {"Pat": {}}}, "unknown control"),
        ("mine", {"_target_": "builtins.dict"}, "cannot be built|does not make"),
    ],
)
def test_a_wrong_control_is_one_line(name, settings, message):
    with pytest.raises(UserError, match=message) as error:
        make(name, settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cycle", "message"),
    [
        ({"Step": {"n": 1}, "Patience": {"n": 1}}, "add Evaluate before it"),
        ({"Step": {"n": 1}, "Patience": {"n": 1}, "Evaluate": {}}, "add Evaluate before it"),
        ({"Step": {"n": 1}, "WarmUp": {"n": 1, "control": {"GL": {"alpha": 1.0}}}}, "add Evaluate before it"),
        ({"Step": {"n": 1}, "Info": {"f": "nothing"}}, "unknown value nothing; choose from"),
        ({"Step": {"n": 1}, "Warn": {"predicate": "nothing > 1"}}, "unknown value nothing; choose from"),
    ],
)
def test_a_cycle_that_cannot_work_is_refused(cycle, message):
    with pytest.raises(UserError, match=message):
        iteration(Script([]), cycle)


def test_a_cycle_that_never_trains_is_refused():
    with pytest.raises(UserError, match="no control trains"):
        iteration(Script([0] * 9), {"NumberLimit": {"n": 5}})


def test_a_state_that_could_not_be_read_again_is_refused():
    class Odd(Counting):
        def state(self):
            return {"count": object()}

    with pytest.raises(UserError, match=r"control.cycle.odd: state\(\) must return JSON values"):
        ControlLoop(Script([0]), {"Step": make("Step", {"n": 1}), "odd": Odd(n=1)}).state()


@pytest.mark.parametrize("name", choices("control"))
def test_every_composition_can_be_made(name):
    node = config(f"control={name}")["control"]
    assert isinstance(node["retrain"], bool)
    iteration(Script([0]), node["cycle"])
    assert {"Step", "InvalidValue", "Evaluate", "Save"} <= set(node["cycle"])


def test_controls_are_composed_on_the_command_line():
    node = config("+control.cycle.Patience.n=4", "control.cycle.Step.n=7", "~control.cycle.Save")["control"]
    made = make_all(node["cycle"])
    assert list(made) == ["Step", "Evaluate", "InvalidValue", "Patience"]
    assert made["Step"].n == 7 and made["Patience"].n == 4


def test_the_defaults_evaluate_as_often_as_eval_every_says():
    assert config("eval.every=123")["control"]["cycle"]["Step"]["n"] == 123
