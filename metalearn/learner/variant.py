"""Variants of a trained learner, with another way, batch-norm mode or number of inner steps."""

from collections.abc import Mapping
from typing import Any

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.algorithms.parameters import MetaParameters
from metalearn.errors import UserError
from metalearn.learner.spec import MOST_STEPS, algorithm_of, own_random
from metalearn.models.base import HEAD
from metalearn.models.norm import NormMode


def variant(
    spec: Mapping[str, Any], params: MetaParameters, *, way: int, norm: NormMode, inner_steps: int
) -> tuple[Algorithm, MetaParameters]:
    """Build the algorithm of a trained learner with other settings, and its meta-parameters.

    If `way` differs from that of training, the head has another width, and is initialized as before training. This is
    allowed only where a learned head has no lasting effect: the inner loop adapts only the head (ANIL, pretrain), or
    the learned head is zero.

    Args:
        spec: of a checkpoint that metalearn.learner.spec.restored accepts.
        params: the learner's meta-parameters.
        way: classes in a task.
        norm: the source of batch-norm statistics at evaluation.
        inner_steps: inner-loop steps at evaluation.

    Raises:
        UserError: the learner cannot be used with these settings.
    """
    if not 0 <= inner_steps <= MOST_STEPS:
        raise UserError(f"inner_steps={inner_steps}: must be 0 to {MOST_STEPS}")
    if norm == "per_step" and spec["norm"] != "per_step":
        raise UserError(
            f"norm=per_step: this learner has no running statistics, it was trained with norm={spec['norm']}"
        )
    outputs = objective_for(spec["regression"]).head_width(way, spec["outputs"])
    own = {**spec["algo"], "inner_steps_test": inner_steps}
    with own_random():
        algorithm = algorithm_of({**spec, "algo": own, "norm": norm, "way": way, "outputs": outputs})
        fresh = algorithm.init()
    if outputs == spec["outputs"]:
        return algorithm, params
    wide = [name for name, value in fresh.model.items() if value.shape != params.model[name].shape]
    zero = not any(params.model[name].any() for name in HEAD)
    if set(wide) - set(HEAD) or not (zero or algorithm.can_replace_head):
        raise UserError(
            f"way={way}: this {spec['name']} learner has a learned head for way={spec['way']}; only a learner whose "
            "inner loop adapts the head alone (anil, pretrain) can be given a new head"
        )
    head = {name: fresh.model[name].to(params.model[name].device) for name in wide}
    return algorithm, params._replace(model=params.model | head)
