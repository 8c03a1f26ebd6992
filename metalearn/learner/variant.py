"""Variants of a trained learner, with another way, batch-norm mode or number of inner steps."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.algorithms.parameters import MetaParameters
from metalearn.learner.spec import MOST_STEPS, algorithm_of, own_random
from metalearn.models.norm import NormMode
from metalearn.runtime.errors import UserError


def variant(
    spec: Mapping[str, Any], params: MetaParameters, *, way: int, norm: NormMode, inner_steps: int
) -> tuple[Algorithm, MetaParameters]:
    """Build the algorithm of a trained learner with other settings, and its meta-parameters.

    For fewer ways than in training, the learned head is cut to its first rows, and so is what the algorithm learned for
    each weight of the head, such as inner rates. The inner loop and the predictions then know the classes of the task
    and no others. For more ways the head is initialized as before training. This is allowed only where a learned head
    has no lasting effect: the inner loop adapts only the head (ANIL, pretrain), or the learned head is zero.

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
        algorithm.net.is_checked = True  # it was checked before its training
        fresh = algorithm.init()
    if outputs == spec["outputs"]:
        return algorithm, params
    if outputs < spec["outputs"]:
        return algorithm, _first_rows(params, fresh, way, algorithm.head.names)
    wide = [name for name, value in fresh.learned.items() if value.shape != params.learned[name].shape]
    zero = not any(params.model[name].any() for name in algorithm.head.names)
    others = set(wide) - set(algorithm.head.names)
    if others or not (zero or algorithm.can_replace_head):
        if others & set(params.extra):
            raise UserError(
                f"{way} classes, but this {spec['name']} learner has learned rates of the head for {spec['way']} only"
            )
        raise UserError(
            f"{way} classes, but this {spec['name']} learner has a learned head for {spec['way']}; more classes "
            "need a new head, and so a learner whose inner loop adapts the head alone (anil, pretrain, protonet) or "
            "starts from a head at zero (algo.zero_head=true)"
        )
    head = {name: fresh.model[name].to(params.model[name].device) for name in wide}
    return algorithm, params._replace(model=params.model | head)


def _first_rows(params: MetaParameters, fresh: MetaParameters, way: int, head: tuple[str, ...]) -> MetaParameters:
    """Cut each entry of the learned head to its first rows.

    Args:
        params: as learned.
        fresh: of the same algorithm with a head for fewer ways, whose shapes are taken.
        way: for the message.
        head: names of the head's parameters.

    Raises:
        UserError: an entry depends on the number of ways in another way than by its rows.
    """

    def cut(name: str, value: Tensor, shape: torch.Size) -> Tensor:
        if value.shape == shape:
            return value
        of_body = name in params.model and name not in head
        if of_body or value.shape[1:] != shape[1:] or len(value) < shape[0]:
            raise UserError(f"way={way}: {name} of this learner is {tuple(value.shape)}, and cannot be cut to that way")
        return value[: shape[0]]

    model = {name: cut(name, value, fresh.model[name].shape) for name, value in params.model.items()}
    extra = {name: cut(name, value, fresh.extra[name].shape) for name, value in params.extra.items()}
    return params._replace(model=model, extra=extra)
