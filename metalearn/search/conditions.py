"""Hyperparameters that depend on others: `momentum` exists only where `optimizer=SGD`."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from optuna.distributions import CategoricalDistribution

from metalearn.runtime.errors import UserError
from metalearn.search.space import Hyperparameter
from metalearn.search.spelling import spell

Found = dict[str, Hyperparameter]  # by name


def settled(found: Found, fixed: Callable[[str], str] | None) -> tuple[Found, dict[str, str]]:
    """Evaluate the conditions on settings that are not searched.

    Args:
        found: the hyperparameters.
        fixed: returns the value of such a setting as on the command line; None: there are none.

    Returns:
        The hyperparameters that may exist, and for each other one the condition that does not hold.
    """
    kept, left_out = dict(found), dict[str, str]()
    for name, parameter in found.items():
        for other, value in parameter.condition.items():
            if fixed is not None and other not in found and fixed(other) != value:
                left_out.setdefault(name, f"{other}={value}")
    while more := [(name, f"{other}={kept[name].condition[other]}") for name in kept if name not in left_out
                   for other in kept[name].condition if other in left_out]:  # fmt: skip
        left_out |= dict(more)
    for name, parameter in found.items():
        if fixed is not None:
            condition = {other: value for other, value in parameter.condition.items() if other in found}
            kept[name] = replace(parameter, condition=condition)
    return {name: parameter for name, parameter in kept.items() if name not in left_out}, left_out


def check(found: Mapping[str, Hyperparameter], name: str, other: str, value: str) -> None:
    """Check a condition.

    Raises:
        UserError: on a setting that is no choice, or has no such value.
    """
    if other not in found:
        raise UserError(f"{name}: depends on {other}, which is not searched; fix it, or search it with choice()")
    distribution = found[other].distribution
    if not isinstance(distribution, CategoricalDistribution):
        raise UserError(f"{name}: depends on {other}, which is not a choice()")
    known = [spell(choice) for choice in distribution.choices]
    if value not in known:
        raise UserError(f"{name}: depends on {other}={value}, which is none of {', '.join(known)}")


def ordered(found: Mapping[str, Hyperparameter]) -> list[Hyperparameter]:
    """Put each hyperparameter after those that it depends on.

    Raises:
        UserError: two depend on each other.
    """
    done: Found = {}
    while len(done) < len(found):
        ready = [name for name, p in found.items() if name not in done and set(p.condition) <= set(done)]
        if not ready:
            raise UserError(f"search space: {', '.join(set(found) - set(done))} depend on each other in a circle")
        done |= {name: found[name] for name in ready}
    return list(done.values())
