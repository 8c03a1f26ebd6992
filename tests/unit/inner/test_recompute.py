"""Recomputed inner loops give every meta-parameter the gradient that a kept graph gives."""

from dataclasses import dataclass, fields

import pytest
import torch
from torch import Tensor, nn

from metalearn.algorithms.base import Meta, trained
from metalearn.algorithms.maml import MAML
from metalearn.errors import UserError
from tests.helpers.configs import ALGORITHMS
from tests.helpers.tasks import algorithm, batch_for, batch_of, meta_of

STEPS = 12


@dataclass(kw_only=True, eq=False)
class LearnedLoss(MAML):
    """MAML whose inner loss is a learned network of the outputs, pulled towards the initial weights."""

    def init(self) -> Meta:
        """Add the weights of the loss."""
        torch.manual_seed(1)
        loss = nn.Linear(self.way, 1)
        return super().init() | {f"loss.{name}": p.detach() for name, p in loss.named_parameters()}

    def weights(self, meta: Meta) -> Meta:
        """The model's weights alone."""
        return {name: value for name, value in trained(meta).items() if not name.startswith("loss.")}

    def inner_loss(self, meta: Meta, outputs: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy and a learned term."""
        learned = nn.functional.linear(outputs.tanh(), meta["loss.weight"], meta["loss.bias"]).square().mean((1, 2))
        return super().inner_loss(meta, outputs, y) + learned


class HiddenLoss(LearnedLoss):
    """The same loss, but its weights do not come from the argument."""

    def inner_loss(self, meta: Meta, outputs: Tensor, y: Tensor) -> Tensor:
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
    assert automatic.recomputes == automatic.can_recompute
    assert automatic.recomputes == (name in ("maml", "metasgd"))
    meta, batch = meta_of(kept), batch_for(name)
    a, b = (algo.meta_gradient(meta, batch).gradients for algo in (kept, automatic))
    assert set(a) == set(b) == set(trained(meta))
    for key, gradient in a.items():
        torch.testing.assert_close(b[key], gradient, rtol=1e-7, atol=1e-12, msg=key)


def test_the_gradient_of_a_learned_inner_loss_is_not_lost():
    kept, again = (
        like(LearnedLoss, algorithm("maml", inner_steps=STEPS, recompute=recompute)) for recompute in (False, None)
    )
    assert again.recomputes
    meta, batch = meta_of(kept), batch_of()
    a, b = (algo.meta_gradient(meta, batch).gradients for algo in (kept, again))
    assert a["loss.weight"].abs().max() > 1e-6
    for key, gradient in a.items():
        torch.testing.assert_close(b[key], gradient, rtol=1e-7, atol=1e-12, msg=key)


def test_a_learned_tensor_that_recomputation_cannot_see_is_refused():
    algo = like(HiddenLoss, algorithm("maml", inner_steps=STEPS))
    meta = {name: value.requires_grad_() for name, value in meta_of(algo).items()}
    algo.hidden = {name: value * 2 for name, value in meta.items()}
    with pytest.raises(UserError, match="uses a learned tensor that is not in the `meta` it is given"):
        algo.meta_gradient(meta, batch_of())
