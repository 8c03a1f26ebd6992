"""Inner optimizers: those with a name, and a class of the user's own."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from metalearn.runtime.errors import UserError
from tests.helpers.configs import QUICK
from tests.helpers.tasks import algorithm, batch_of, params_of

HERE = "tests.unit.inner.test_optimizers"


class Heavy:
    """SGD with Nesterov's momentum, whose state is a dictionary."""

    def __init__(self, *, lr: float, momentum: float):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}: must be at least 0 and below 1")
        self.lr, self.momentum = lr, momentum

    def update(self, weights: list[Tensor], grads: list[Tensor], state: Any) -> tuple[list[Tensor], Any]:
        """One step."""
        old = state["v"] if state else [torch.zeros_like(g) for g in grads]
        v = [self.momentum * v + g for v, g in zip(old, grads, strict=True)]
        moved = [w - self.lr * (g + self.momentum * v) for w, g, v in zip(weights, grads, v, strict=True)]
        return moved, {"v": v, "steps": (state["steps"] if state else 0) + 1}


class Unpaired(Heavy):
    """Forgets the state."""

    def update(self, weights, grads, state):
        """One step."""
        return super().update(weights, grads, state)[0]


class Misshapen(Heavy):
    """Mixes the tasks."""

    def update(self, weights, grads, state):
        """One step."""
        return [w.mean(0) for w in weights], state


class NoOptimizer:
    """Has no update."""


MINE = {"_target_": f"{HERE}.Heavy", "lr": 0.1, "momentum": 0.5}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("engine", ["grouped", "vmap"])
def test_a_class_of_the_users_own_steps_and_is_differentiated_through(engine, recompute):
    algo = algorithm("maml", inner_optimizer=MINE, kernel=engine, recompute=recompute, inner_steps=3)
    torch_sgd = algorithm(
        "maml",
        inner_loop="higher",
        inner_steps=3,
        inner_optimizer={"name": "SGD", "lr": 0.1, "momentum": 0.5, "nesterov": True},
    )
    params, batch = params_of(algo), batch_of()
    found, wanted = (a.meta_gradient(params, batch).gradients for a in (algo, torch_sgd))
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-12, msg=name)


def test_it_is_chosen_on_the_command_line_and_recorded(typed, tmp_path):
    done = typed(
        *QUICK,
        "algo=maml",
        f"+algo.inner_optimizer._target_={HERE}.Heavy",
        "+algo.inner_optimizer.momentum=0.5",
        "hydra.run.dir=out",
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["config"]["algo"]["inner_optimizer"]
    assert settings["_target_"] == f"{HERE}.Heavy" and settings["momentum"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**MINE, "momentum": 2.0}, r"algo\.inner_optimizer\.momentum=2\.0: must be at least 0"),
        ({**MINE, "momentum": "x"}, r"algo\.inner_optimizer\.momentum=x: must be a number"),
        ({**MINE, "damping": 1.0}, r"algo\.inner_optimizer\.damping: Heavy has no such setting; it has lr, momentum"),
        ({"_target_": f"{HERE}.Heavy", "lr": 0.1}, r"algo\.inner_optimizer\.momentum: a value is needed"),
        ({"_target_": f"{HERE}.NoOptimizer"}, r"does not make a metalearn\.inner\.optimizers\.Optimizer"),
        ({"_target_": "nowhere.Mine"}, r"algo\.inner_optimizer\._target_=nowhere\.Mine: cannot be imported"),
        (
            {"name": "RMSprop"},
            r"must be SGD or Adam; for others set engine\.inner_loop=higher, or name a class of yours",
        ),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        algorithm("maml", inner_optimizer=settings)


def test_it_needs_an_engine_that_steps_many_tasks():
    with pytest.raises(UserError, match=r"_target_: engine\.inner_loop=higher takes optimizers of torch\.optim alone"):
        algorithm("maml", inner_optimizer=MINE, inner_loop="higher")


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("name", "message"), [("Unpaired", "update must return a pair"), ("Misshapen", "must return weights of the shapes")]
)
def test_a_result_that_breaks_the_contract_is_one_line(name, message, recompute):
    settings = {**MINE, "_target_": f"{HERE}.{name}"}
    algo = algorithm("maml", inner_optimizer=settings, recompute=recompute, inner_steps=2)
    with pytest.raises(UserError, match=message):
        algo.meta_gradient(params_of(algo), batch_of())


def test_adam_by_higher_is_warned_of_in_second_order_and_differs_by_the_bias_correction():
    adam = {"name": "Adam", "lr": 0.01}
    other, batched = (algorithm("maml", inner_loop=loop, inner_optimizer=adam) for loop in ("higher", "unrolled"))
    assert "second derivatives of its Adam differ" in other.notice and batched.notice is None
    assert algorithm("fomaml", inner_loop="higher", inner_optimizer=adam).notice is None
    params, batch = params_of(batched), batch_of()
    head = {name: torch.zeros_like(params.model[name]) for name in batched.head.names}
    params = params._replace(model=params.model | head)
    a, b = (algo.meta_gradient(params, batch).gradients["head.weight"] for algo in (other, batched))
    torch.testing.assert_close(b / a, torch.full_like(a, 0.001**-0.5), rtol=0.01, atol=0)
