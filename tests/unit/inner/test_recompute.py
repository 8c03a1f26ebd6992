"""Recomputed inner loops give every meta-parameter the gradient that a kept graph gives."""

from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor, nn

from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parameters import MetaParameters
from metalearn.errors import UserError
from tests.helpers.configs import ALGORITHMS
from tests.helpers.tasks import algorithm, batch_for, batch_of, params_of

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


@pytest.mark.parametrize("name", ALGORITHMS)
def test_long_inner_loops_have_the_gradient_of_a_kept_graph(name):
    steps = 0 if name == "pretrain" else STEPS  # it has no inner loop in training
    kept = algorithm(name, inner_steps=steps, recompute=False)
    automatic = algorithm(name, inner_steps=steps)
    assert automatic.recomputes == (not automatic.cannot_recompute) == (name in ("maml", "metasgd", "boil"))
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
