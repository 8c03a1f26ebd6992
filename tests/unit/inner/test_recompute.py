"""Recomputed inner loops give every meta-parameter the gradient that a kept graph gives."""

import os
import subprocess
import sys
from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor, nn

from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parameters import MetaParameters
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ALGORITHMS, ROOT, every, inner_steps
from tests.helpers.tasks import algorithm, batch_for, batch_of, close, params_of

STEPS = 12


@dataclass(kw_only=True, eq=False)
class LearnedLoss(MAML):
    """MAML whose inner loss is a learned network of the outputs, pulled towards the initial weights."""

    def init(self) -> MetaParameters:
        """Add the weights of the loss."""
        torch.manual_seed(1)
        loss = nn.Linear(self.way, 1)
        return super().init()._replace(extra={f"loss.{name}": p.detach() for name, p in loss.named_parameters()})

    def inner_loss(self, params: MetaParameters, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy and a learned term."""
        learned = (
            nn.functional.linear(outputs.tanh(), params.extra["loss.weight"], params.extra["loss.bias"])
            .square()
            .mean((1, 2))
        )
        return super().inner_loss(params, outputs, y) + learned


class HiddenLoss(LearnedLoss):
    """The same loss, but its weights do not come from the argument."""

    def inner_loss(self, params: MetaParameters, outputs: Tensor, y: Tensor) -> Tensor:
        """A learned term that recomputation cannot see."""
        return super().inner_loss(self.hidden, outputs, y)


def like(kind: type, plain: MAML) -> MAML:
    """An algorithm of this class with the settings of another."""
    return kind(**{field.name: getattr(plain, field.name) for field in fields(plain)})


@pytest.mark.parametrize("name", every(3, ALGORITHMS))
def test_long_inner_loops_have_the_gradient_of_a_kept_graph(name):
    steps = inner_steps(name, STEPS)
    kept = algorithm(name, inner_steps=steps, recompute=False)
    automatic = algorithm(name, inner_steps=steps)
    of_body = any(automatic.is_adapted(key) for key in automatic.init().model if key not in automatic.head.names)
    second_order = isinstance(automatic, MAML) and automatic.second_order and of_body
    assert automatic.recomputes == (not automatic.cannot_recompute) == second_order
    params, batch = params_of(kept), batch_for(name)
    a, b = (algo.meta_gradient(params, batch).gradients for algo in (kept, automatic))
    assert set(a) == set(b) == set(params.learned)
    for key, gradient in a.items():
        torch.testing.assert_close(b[key], gradient, rtol=1e-7, atol=1e-12, msg=key)


def test_the_gradient_of_a_learned_inner_loss_is_not_lost():
    kept, again = (
        like(LearnedLoss, algorithm("maml", inner_steps=STEPS, recompute=recompute)) for recompute in (False, None)
    )
    assert again.recomputes
    params, batch = params_of(kept), batch_of()
    a, b = (algo.meta_gradient(params, batch).gradients for algo in (kept, again))
    assert a["loss.weight"].abs().max() > 1e-6
    for key, gradient in a.items():
        torch.testing.assert_close(b[key], gradient, rtol=1e-7, atol=1e-12, msg=key)


def test_a_learned_tensor_that_recomputation_cannot_see_is_refused():
    algo = like(HiddenLoss, algorithm("maml", inner_steps=STEPS))
    params = params_of(algo).leaves()
    algo.hidden = params.map(lambda value: value * 2)
    with pytest.raises(UserError, match="uses a learned tensor that is not in the `params` it is given"):
        algo.meta_gradient(params, batch_of())


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam", "lr": 0.05, "betas": [0.5, 0.9], "eps": 1e-2}],
)
@pytest.mark.parametrize("steps", every(2, [7, 1]))
@pytest.mark.parametrize("adapt_norm, filters", [(True, 4), (False, 4), (True, 27)])
def test_recomputing_gives_the_gradient_of_keeping(optimizer, steps, adapt_norm, filters):
    settings = {"inner_steps": steps, "inner_optimizer": optimizer, "adapt_norm": adapt_norm, "filters": filters}
    kept, again = (algorithm("maml", recompute=recompute, **settings) for recompute in (False, True))
    params, batch = params_of(kept), batch_of()
    assert again.recomputes and not kept.recomputes
    close(again.meta_gradient(params, batch).gradients, kept.meta_gradient(params, batch).gradients)


def test_long_inner_loops_recompute_by_themselves_where_they_can():
    assert not algorithm("maml", inner_steps=10).recomputes and algorithm("maml", inner_steps=11).recomputes
    assert not algorithm("maml", inner_steps=50, norm="per_step").recomputes
    with pytest.raises(UserError, match="MAML cannot recompute with norm=per_step"):
        algorithm("maml", norm="per_step", recompute=True)


PEAK = """
import re, sys
from metalearn.runtime.device import keep_freed_memory
from tests.helpers.tasks import algorithm, batch_of, params_of
import torch
keep_freed_memory()
steps, recompute = int(sys.argv[1]), {"null": None, "false": False}[sys.argv[2]]
algo = algorithm("maml", filters=32, shape=(1, 28, 28), way=5, shot=1, query=1, inner_steps=steps, recompute=recompute)
batch, params = batch_of(tasks=8, way=5, shot=1, query=1, shape=(1, 28, 28), dtype=torch.float32), algo.init()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
algo.meta_gradient(params, batch)
print(peak() - before)
"""


def peak(*words):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PEAK, *words], env=environ, text=True, capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.integration
def test_fifty_inner_steps_need_less_than_twice_the_memory_of_five():
    assert peak("50", "null") < 2 * peak("5", "null") < peak("50", "false")
