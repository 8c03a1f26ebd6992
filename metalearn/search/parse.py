"""The space of a search from words in Hydra's own override syntax.

`choice(a, b)` and `range(1, 6)` are discrete (the end of a range is not in it, as in a plain sweep),
`interval(0.01, 2)` is continuous, `tag(log, ...)` makes it logarithmic, `tag(int, ...)` whole numbers. A hyperparameter
may depend on a choice: `tag("if algo.inner_optimizer.name=SGD", interval(0, 0.99))`.
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metalearn.runtime.errors import UserError
from metalearn.search import conditions
from metalearn.search.space import Hyperparameter, Space
from metalearn.search.spelling import read, spell

CONDITION = "if "  # a tag that begins with it names the choice on which a hyperparameter depends


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the words of the command line into settings that are fixed and those that are searched.

    Raises:
        UserError: a word that Hydra cannot read.
    """
    fixed: list[str] = []
    searched: list[str] = []
    for word in words:
        (searched if read(word).is_sweep_override() else fixed).append(word)
    return fixed, searched


def parse(words: Sequence[str], fixed: Callable[[str], str] | None = None) -> Space:
    """Make a space of words such as `algo.inner_steps=range(1, 6)`.

    Args:
        words: one for each hyperparameter.
        fixed: returns the value, as on the command line, of a setting that is not searched. A condition on one is
            evaluated at once: a hyperparameter that cannot exist is left out.

    Raises:
        UserError: an empty or impossible dimension, one that is named twice, or a condition on an unknown choice.
    """
    found: dict[str, Hyperparameter] = {}
    for word in words:
        override = read(word)
        if override.is_delete() or not isinstance(override.value(), Sweep):
            raise UserError(f"{word}: is no dimension of a search; give choice(), range() or interval()")
        key = override.get_key_element()
        name = key.lstrip("+")
        if name in found:
            raise UserError(f"{name}: is in the search space twice")
        found[name] = Hyperparameter(key, _distribution(override, word), _condition(override, word))
    found, left_out = conditions.settled(found, fixed)
    for name, parameter in found.items():
        for other, value in parameter.condition.items():
            conditions.check(found, name, other, value)
    if not found:
        why = f" ({'; '.join(f'{name} needs {other}' for name, other in left_out.items())})" if left_out else ""
        raise UserError(f"search=: nothing to search{why}; give a space, such as 'algo.inner_steps=range(1, 6)'")
    return Space(tuple(conditions.ordered(found)), left_out)


def _sweep(override: Override) -> Sweep:
    value = override.value()
    assert isinstance(value, Sweep)
    return value


def _tags(override: Override) -> list[str]:
    return [str(tag.text if isinstance(tag, QuotedString) else tag) for tag in _sweep(override).tags]


def _condition(override: Override, word: str) -> dict[str, str]:
    """Read the conditions among the tags of a hyperparameter."""
    found = {}
    for tag in _tags(override):
        if tag in ("log", "int"):
            continue
        name, equals, value = tag.removeprefix(CONDITION).partition("=")
        if not tag.startswith(CONDITION) or not equals:
            raise UserError(f'{word}: unknown tag {tag}; there are log, int, and "if SETTING=VALUE"')
        found[name.strip()] = spell(_plain(read(f"x={value.strip()}")._value, word))
    return found


def _distribution(override: Override, word: str) -> BaseDistribution:
    sweep, tags = _sweep(override), set(_tags(override))
    log, whole = "log" in tags, "int" in tags
    if isinstance(sweep, ChoiceSweep):
        if log or whole:
            raise UserError(f"{word}: a choice has no scale; leave the tag out")
        values = [_plain(value, word) for value in sweep.list]
        for one, other in combinations(values, 2):
            if one == other:  # 1, 1.0 and true are: Optuna would take the first for all of them
                raise UserError(f"{word}: {spell(one)} and {spell(other)} count as one value; leave one of them out")
        return CategoricalDistribution(values)
    if isinstance(sweep, RangeSweep):
        return _range(sweep, word, log)
    assert isinstance(sweep, IntervalSweep)
    start, end = sweep.start, sweep.end
    if start is None or end is None or not start < end:
        raise UserError(f"{word}: an empty interval")
    if math.isinf(start) or math.isinf(end):
        raise UserError(f"{word}: an interval has finite ends")
    if log and start <= 0:
        raise UserError(f"{word}: a logarithmic interval must lie above 0")
    if whole or (isinstance(start, int) and isinstance(end, int)):  # tag(int, interval()) or int(interval())
        if start != int(start) or end != int(end):
            raise UserError(f"{word}: the ends of an interval of whole numbers must be whole")
        return IntDistribution(int(start), int(end), log=log)
    return FloatDistribution(float(start), float(end), log=log)


def _range(sweep: RangeSweep, word: str, log: bool) -> BaseDistribution:
    try:
        values = list(sweep.range())
    except (ValueError, HydraException):  # a step of 0
        values = []
    if not values:
        raise UserError(f"{word}: an empty range")
    low, high, step = min(values), max(values), abs(sweep.step)
    if all(isinstance(value, int) for value in (low, high, step)):
        if log and (low < 1 or step != 1):
            raise UserError(f"{word}: a logarithmic range needs a start of at least 1 and step 1")
        return IntDistribution(int(low), int(high), log=log, step=int(step))
    if log:
        raise UserError(f"{word}: a range with a step cannot be logarithmic; take interval()")
    high = float(Decimal(str(low)) + (len(values) - 1) * Decimal(str(step)))  # 0.6 where the sum is 0.6000000000000001
    return FloatDistribution(float(low), high, step=float(step))


def _plain(value: Any, word: str) -> Any:
    """Return a value of a choice as Optuna keeps it: lists and mappings as texts."""
    value = value.text if isinstance(value, QuotedString) else value
    if isinstance(value, str) and value.startswith(("[", "{")):
        raise UserError(f"{word}: a quoted text that begins with a bracket; write a list without quotes")
    return value if isinstance(value, (str, int, float, bool, type(None))) else Transformer.str(value)
