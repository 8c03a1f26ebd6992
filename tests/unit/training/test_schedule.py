"""Schedules of the outer learning rate: those of torch, to the bit, also when resumed, retrained or changed."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from metalearn.algorithms.parameters import MetaGradient, MetaParameters
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from metalearn.training.outer_optimizer import OuterOptimizer
from metalearn.training.schedulers import KINDS

STEPS, EVERY = 30, 3  # meta-steps of a run, and between its measurements
SCORES = [0.3, 0.5, 0.4, 0.4, 0.6, 0.6, 0.5, 0.5, 0.5, 0.7]
SGD, ADAM = {"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam", "lr": 0.1, "weight_decay": 0.01}
RISE = {"name": "LinearLR", "start_factor": 0.2, "total_iters": 7}
SCHEDULES = {
    "constant": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "StepLR": {"name": "StepLR", "step_size": 4, "gamma": 0.5},
    "MultiStepLR": {"name": "MultiStepLR", "milestones": [3, 20]},
    "ConstantLR": {"name": "ConstantLR", "factor": 0.5, "total_iters": 8},
    "LinearLR": RISE,
    "ExponentialLR": {"name": "ExponentialLR", "gamma": 0.9},
    "PolynomialLR": {"name": "PolynomialLR", "total_iters": STEPS, "power": 2.0},
    "CosineAnnealingLR": {"name": "CosineAnnealingLR", "T_max": 8, "eta_min": 0.001},
    "CosineAnnealingWarmRestarts": {"name": "CosineAnnealingWarmRestarts", "T_0": 4, "T_mult": 2},
    "CyclicLR": {"name": "CyclicLR", "base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5, "mode": "exp_range", "gamma": 0.99},
    "OneCycleLR": {"name": "OneCycleLR", "max_lr": 0.2, "total_steps": STEPS, "pct_start": 1.0},
    "ReduceLROnPlateau": {"name": "ReduceLROnPlateau", "factor": 0.5, "patience": 0, "cooldown": 1},
    "SequentialLR": {"name": "SequentialLR", "milestones": [7, 20], "schedulers": [
        RISE, {"name": "MultiStepLR", "milestones": [3]}, {"name": "CosineAnnealingLR", "T_max": 10}]},
    "ChainedScheduler": {"name": "ChainedScheduler", "schedulers": [RISE, {"name": "ExponentialLR", "gamma": 0.9}]},
    "nested": {"name": "SequentialLR", "milestones": [10], "schedulers": [
        {"name": "ChainedScheduler", "schedulers": [RISE, {"name": "StepLR", "step_size": 3}]},
        {"name": "OneCycleLR", "max_lr": 0.3, "total_steps": 20}]},
}  # fmt: skip
QUICK = {"cosine", "SequentialLR", "OneCycleLR", "CosineAnnealingWarmRestarts", "ReduceLROnPlateau", "nested"}
CASES = [  # each scheduler, with SGD and with Adam
    pytest.param(name, optimizer, id=f"{name}-{optimizer['name']}",
                 marks=[] if name in QUICK and (optimizer is SGD) == (name in ("OneCycleLR", "nested")) else pytest.mark.slow)
    for name in SCHEDULES for optimizer in (SGD, ADAM)]  # fmt: skip


def outer_of(schedule, optimizer=ADAM, **settings):
    params = MetaParameters({"w": torch.tensor([1.0, -2.0, 3.0])}, {}, [])
    given = {"warmup": 0, "clip": None, "steps": STEPS, **settings}
    return OuterOptimizer(optimizer=optimizer, schedule=schedule, params=params, **given)


def step(outer, taken):
    """Take a meta-step, and measure after every third."""
    rate, group = outer.lr, outer.optimizer.param_groups[0]
    seen = rate, group.get("momentum"), group.get("betas")
    outer.step(MetaGradient({"w": torch.tensor([1.0, 2.0, taken % 4 - 1.5])}, {}, []))
    if (taken + 1) % EVERY == 0:
        outer.schedule.measured(taken + 1, SCORES[(taken + 1) // EVERY - 1])
    return seen


def by_hand(node, optimizer):
    """A scheduler as a user of torch makes it."""
    values = {name: value for name, value in node.items() if name != "name"}
    if "schedulers" in values:
        values["schedulers"] = [by_hand(member, optimizer) for member in values["schedulers"]]
    more = {"mode": "max"} if node["name"] == "ReduceLROnPlateau" else {}
    return getattr(lr_scheduler, node["name"])(optimizer=optimizer, **values, **more)


def test_every_scheduler_of_torch_is_tested():
    assert set(KINDS) <= {*SCHEDULES}


@pytest.mark.parametrize(
    ("name", "optimizer"), [case for case in CASES if not isinstance(SCHEDULES[case.values[0]], str)]
)
def test_rates_momentum_and_weights_are_those_of_torch(name, optimizer):
    outer = outer_of(SCHEDULES[name], optimizer)
    w = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    plain = getattr(torch.optim, optimizer["name"])([w], **{k: v for k, v in optimizer.items() if k != "name"})
    scheduler = by_hand(SCHEDULES[name], plain)
    for taken in range(STEPS):
        group = plain.param_groups[0]
        assert step(outer, taken) == (group["lr"], group.get("momentum"), group.get("betas"))
        w.grad = torch.tensor([1.0, 2.0, taken % 4 - 1.5])
        plain.step()
        if name != "ReduceLROnPlateau" and taken + 1 < STEPS:
            scheduler.step()
        elif name == "ReduceLROnPlateau" and (taken + 1) % EVERY == 0:
            scheduler.step(SCORES[(taken + 1) // EVERY - 1])
    assert torch.equal(outer.params.model["w"], w)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)]),
    ],
)
def test_short_names(schedule, expected):
    outer, warmed = outer_of(schedule, steps=4), outer_of(schedule, steps=4, warmup=3)
    assert [step(outer, taken)[0] / 0.1 for taken in range(4)] == pytest.approx(expected, rel=1e-12)
    rise = [1 / 3, 2 / 3, 1, 1]
    assert [step(warmed, t)[0] / 0.1 for t in range(4)] == pytest.approx(
        [r * e for r, e in zip(rise, expected, strict=True)]
    )


@pytest.mark.parametrize(("name", "optimizer"), CASES)
def test_resumed_after_any_step_is_never_stopped(name, optimizer, tmp_path):
    """Through a file, which holds plain values only."""
    settings = {"warmup": 5, "clip": 1.5, "clip_value": 1.2, "weight_decay": 0.02}
    whole = outer_of(SCHEDULES[name], optimizer, **settings)
    seen = [step(whole, taken) for taken in range(STEPS)]
    running = outer_of(SCHEDULES[name], optimizer, **settings)
    for taken in range(STEPS):
        content = {"spec": {}, "params": running.params.content(), "step": taken, "state": {"o": running.state()}}
        (tmp_path / "x.pt").write_bytes(checkpoint.pack(content))
        read = checkpoint.read(tmp_path / "x.pt")
        resumed = outer_of(SCHEDULES[name], optimizer, **settings)
        resumed.restore(MetaParameters.of(read["params"]), read["state"]["o"], taken)
        assert checkpoint.digest(resumed.state()) == checkpoint.digest(running.state())
        assert step(resumed, taken) == seen[taken]
        running = resumed
    assert torch.equal(running.params.model["w"], whole.params.model["w"])
    assert running.schedule.rates == whole.schedule.rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_changed_settings_give_the_rate_that_they_would_have_given(name):
    before = outer_of("constant", {**SGD, "lr": 0.7}, steps=12)
    for taken in range(11):
        step(before, taken)
    resumed, whole = outer_of(SCHEDULES[name], SGD), outer_of(SCHEDULES[name], SGD)
    resumed.restore(before.params, before.state(), 11)
    seen = [step(whole, taken) for taken in range(STEPS)]
    assert [step(resumed, taken) for taken in range(11, STEPS)] == seen[11:]
    assert resumed.schedule.rates == whole.schedule.rates


def test_a_plateau_is_one_of_the_score():
    for maximize, scores, factor in ((True, [0.1, 0.2], 1), (True, [0.2, 0.1], 0.5),
                                     (False, [0.2, 0.1], 1), (False, [0.1, 0.2], 0.5)):  # fmt: skip
        outer = outer_of(SCHEDULES["ReduceLROnPlateau"], maximize=maximize)
        for taken, score in enumerate(scores):
            outer.schedule.measured(taken, score)
        assert outer.lr == 0.1 * factor


def test_forgotten_scores_do_not_lower_a_rate():
    outer = outer_of(SCHEDULES["ReduceLROnPlateau"])
    for taken, score in ((3, 0.9), (6, 0.5), (9, None), (9, 0.2), (12, 0.3)):
        outer.schedule.measured(taken, score)
    assert outer.schedule.rates == [(0, 0.1), (6, 0.05)]
    again = outer_of(SCHEDULES["ReduceLROnPlateau"], {**ADAM, "lr": 0.2})  # settings changed as well
    again.restore(outer.params, outer.state(), 12)
    assert again.schedule.rates == [(0, 0.2), (6, 0.1)]


def test_a_retraining_has_the_recorded_rate_at_each_step():
    first, again = (
        outer_of(SCHEDULES["ReduceLROnPlateau"], warmup=4),
        outer_of(SCHEDULES["ReduceLROnPlateau"], warmup=4),
    )
    rates = [step(first, taken)[0] for taken in range(STEPS)]
    again.schedule.replay(first.schedule.rates)
    gradient = MetaGradient({"w": torch.ones(3)}, {}, [])
    assert len(set(rates)) == 5 and [(again.lr, again.step(gradient))[0] for _ in range(STEPS)] == rates
    with pytest.raises(UserError, match="the retraining replays the rates of the first training"):
        again.schedule.replay([])


def test_clipping_by_value_comes_before_clipping_by_norm():
    def change(**clip):
        outer = outer_of("constant", {"name": "SGD", "lr": 1.0}, **clip)
        norms = outer.step(MetaGradient({"w": torch.tensor([-3.0, 0.5, 4.0])}, {}, []))
        assert norms["grad_norm"].item() == pytest.approx(25.25**0.5)  # before clipping
        return (torch.tensor([1.0, -2.0, 3.0]) - outer.params.model["w"].detach()).tolist()

    assert change() == pytest.approx([-3, 0.5, 4])
    assert change(clip_value=2.0) == pytest.approx([-2, 0.5, 2])
    assert change(clip=0.5) == pytest.approx([0.5 * v / 25.25**0.5 for v in (-3, 0.5, 4)], rel=1e-5)
    assert change(clip_value=2.0, clip=0.5) == pytest.approx([0.5 * v / 8.25**0.5 for v in (-2, 0.5, 2)], rel=1e-5)


def test_weight_decay_is_an_argument_of_the_optimizer():
    def after(**optimizer):
        outer = outer_of("constant", {"lr": 0.1, **optimizer})
        outer.step(MetaGradient({"w": torch.ones(3)}, {}, []))
        return outer.params.model["w"].tolist()

    w = (1.0, -2.0, 3.0)
    assert after(name="SGD", weight_decay=0.5) == pytest.approx([v - 0.1 * (1 + 0.5 * v) for v in w])
    assert after(name="AdamW", weight_decay=0.5) == pytest.approx([v * (1 - 0.1 * 0.5) - 0.1 for v in w])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_weight_decay_follows_the_rate_as_in_adamw(schedule, warmup):
    ours = outer_of(schedule, {"name": "Adam", "lr": 0.1}, warmup=warmup, weight_decay=0.1 * 0.3)
    torchs = outer_of(schedule, {"name": "AdamW", "lr": 0.1, "weight_decay": 0.3}, warmup=warmup)
    for taken in range(STEPS):
        assert step(ours, taken) == step(torchs, taken)
        assert torch.allclose(ours.params.model["w"], torchs.params.model["w"], rtol=1e-5)


def test_weight_decay_does_not_depend_on_the_optimizer_or_its_rate():
    still = MetaGradient({"w": torch.zeros(3)}, {}, [])
    for optimizer in ({"name": "SGD", "lr": 1.0}, {"name": "SGD", "lr": 0.01}, {"name": "RMSprop", "lr": 0.1}):
        outer = outer_of("linear", optimizer, steps=4, weight_decay=0.1)
        outer.step(still)
        outer.step(still)
        assert outer.params.model["w"].tolist() == pytest.approx([v * 0.9 * 0.925 for v in (1.0, -2.0, 3.0)])


def inside(**node):
    return {"name": "SequentialLR", "milestones": [3], "schedulers": [RISE, node]}


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("step", r"outer.schedule=step: not a scheduler of torch.optim \(did you mean StepLR\?\); choose constant, linear"),
        ("StepLR", "outer.schedule.step_size: a value is needed for StepLR"),
        ("LambdaLR", "outer.schedule=LambdaLR: takes a function, which a run cannot record; choose "),
        ({"name": "MultiplicativeLR"}, "outer.schedule.name=MultiplicativeLR: takes a function, which a run cannot record"),
        (inside(name="LambdaLR"), r"outer.schedule.schedulers\[1\].name=LambdaLR: takes a function"),
        ({"name": "LRScheduler"}, "outer.schedule.name=LRScheduler: not a scheduler"),
        ({"step_size": 3}, r"outer.schedule={'step_size': 3}: a scheduler of torch.optim with its arguments is needed"),
        ({"name": "StepLR", "step_size": 3, "gama": 2}, r"outer.schedule.gama: .*did you mean outer.schedule.gamma\?"),
        ({"name": "StepLR", "step_size": "a"}, "outer.schedule.step_size=a: must be a whole number"),
        ({"name": "StepLR", "step_size": 0}, "outer.schedule: StepLR cannot work with these arguments: "),
        ({"name": "StepLR", "step_size": 3, "last_epoch": 2}, "outer.schedule.last_epoch: is counted by the run"),
        ({"name": "StepLR", "step_size": 3, "gamma": -1}, "outer.schedule.gamma=-1: must be at least 0"),
        ({"name": "MultiStepLR", "milestones": ["a"]}, r"outer.schedule.milestones=\['a'\]: must be a list, each a whole"),
        ({"name": "CosineAnnealingLR", "T_max": 0}, "outer.schedule: CosineAnnealingLR cannot work with these arguments"),
        ({"name": "CyclicLR", "base_lr": 0.1, "max_lr": 1, "scale_fn": "f"}, "scale_fn: is a function, which a run cannot"),
        ({"name": "OneCycleLR", "max_lr": 1, "total_steps": STEPS - 1}, r"ends after 29 of 30 .* set total_steps: \${steps}"),
        (inside(name="OneCycleLR", max_lr=1, total_steps=26), r"\[1\]: OneCycleLR ends after 26 of 27 .*total_steps: 27"),
        (inside(name="ReduceLROnPlateau"), r"schedulers\[1\].name=ReduceLROnPlateau: .* it can only be the whole schedule"),
        ({"name": "ReduceLROnPlateau", "mode": "max"}, "outer.schedule.mode: follows from the score: .*: leave it out"),
        ({"name": "ReduceLROnPlateau", "factor": 2.0}, r"outer.schedule: Factor should be < 1.0"),
        (inside(step_size=3), r"outer.schedule.schedulers\[1\]={'step_size': 3}: a scheduler of torch.optim"),
        ({**inside(**RISE), "milestones": [3, 5]}, "outer.schedule: Sequential Schedulers expects number of schedulers"),
        ({**inside(**RISE), "milestones": []}, "outer.schedule: Sequential Schedulers expects number of schedulers"),
        ({"name": "SequentialLR", "milestones": [5, 3], "schedulers": [RISE] * 3}, "must be meta-steps in rising order"),
        ({"name": "ChainedScheduler", "schedulers": 3}, "outer.schedule.schedulers=3: a list of schedulers is needed here"),
    ],
)  # fmt: skip
def test_a_wrong_schedule_is_one_line(schedule, message):
    with pytest.raises(UserError, match=message) as error:
        outer_of(schedule)
    assert "\n" not in str(error.value)
