"""The space of a search, in Hydra's own override syntax.

`choice(a, b)` and `range(1, 6)` are discrete (the end of a range is not in it, as in a plain sweep),
`interval(0.01, 2)` is continuous, `tag(log, ...)` makes it logarithmic, `tag(int, ...)` whole numbers. A hyperparameter
may depend on a choice: `tag("if algo.inner_optimizer.name=SGD", interval(0, 0.99))`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, QuotedString, RangeSweep, Sweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from metalearn.config.quoting import hydra_quoted
from metalearn.errors import UserError

CONDITION = "if "  # a tag that begins with it names the choice on which a hyperparameter depends


@dataclass(frozen=True)
class Hyperparameter:
    """One dimension of a search.

    Args:
        key: the setting, with `+` where it is to be added.
        distribution: its values.
        condition: it exists only where these settings have these values.
    """

    key: str
    distribution: BaseDistribution
    condition: Mapping[str, str]

    @property
    def name(self) -> str:
        """The setting without `+`."""
        return self.key.lstrip("+")

    def override(self, value: Any) -> str:
        """Return the word of the command line that sets a value."""
        return f"{self.key}={spell(value)}"


@dataclass(frozen=True)
class Space:
    """The hyperparameters of a search, each after those that it depends on."""

    hyperparameters: tuple[Hyperparameter, ...]

    def suggest(self, trial: Trial) -> list[str]:
        """Ask a trial for a value of each hyperparameter that exists in it; return overrides of the command line."""
        chosen: dict[str, Any] = {}
        for parameter in self.hyperparameters:
            if all(name in chosen and spell(chosen[name]) == value for name, value in parameter.condition.items()):
                chosen[parameter.name] = _suggest(trial, parameter)
        return self.overrides(chosen)

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return the words of the command line that set these hyperparameters."""
        return [parameter.override(values[parameter.name])
                for parameter in self.hyperparameters if parameter.name in values]  # fmt: skip

    def describe(self) -> dict[str, str]:
        """Return the space as plain text by name, to compare a resumed study with."""
        found = {}
        for parameter in self.hyperparameters:
            condition = "".join(f" if {name}={value}" for name, value in parameter.condition.items())
            found[parameter.key] = f"{parameter.distribution}{condition}"
        return found

    @property
    def conditional(self) -> bool:
        """True if a hyperparameter depends on another."""
        return any(parameter.condition for parameter in self.hyperparameters)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the words of the command line into settings that are fixed and those that are searched.

    Raises:
        UserError: a word that Hydra cannot read.
    """
    fixed: list[str] = []
    searched: list[str] = []
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise UserError(f"{word}: {' '.join(str(error).split())}") from error
        (searched if override.is_sweep_override() else fixed).append(word)
    return fixed, searched


def parse(words: Sequence[str]) -> Space:
    """Make a space of words such as `algo.inner_steps=range(1, 6)`.

    Raises:
        UserError: an empty or impossible dimension, one that is named twice, or a condition on an unknown choice.
    """
    found: dict[str, Hyperparameter] = {}
    for word in words:
        override = OverridesParser.create().parse_override(word)
        key = override.key_or_group if not override.is_add() else f"+{override.key_or_group}"
        name = key.lstrip("+")
        if name in found:
            raise UserError(f"{name}: is in the search space twice")
        found[name] = Hyperparameter(key, _distribution(override, word), _condition(override, word))
    for name, parameter in found.items():
        for other, value in parameter.condition.items():
            _check_condition(found, name, other, value)
    if not found:
        raise UserError("search=: nothing to search; give a space, such as 'algo.inner_steps=range(1, 6)'")
    return Space(tuple(_ordered(found)))


def spell(value: Any) -> str:
    """Write a value as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return (
        repr(value)
        if isinstance(value, (int, float))
        else text
        if re.fullmatch(r"[\w./-]+", text)
        else hydra_quoted(text)
    )


def _suggest(trial: Trial, parameter: Hyperparameter) -> Any:
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(parameter.name, distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    kind: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    settings: dict[str, Any] = {"log": distribution.log}
    if not distribution.log and distribution.step is not None:
        settings["step"] = distribution.step
    return kind(parameter.name, distribution.low, distribution.high, **settings)


def _sweep(override: Override) -> Sweep:
    value = override.value()
    assert isinstance(value, Sweep)
    return value


def _tags(override: Override) -> list[str]:
    return [str(tag.text if isinstance(tag, QuotedString) else tag) for tag in _sweep(override).tags]


def _condition(override: Override, word: str) -> dict[str, str]:
    """Read the conditions among the tags of a hyperparameter."""
    conditions = {}
    for tag in _tags(override):
        if tag in ("log", "int"):
            continue
        name, equals, value = tag.removeprefix(CONDITION).partition("=")
        if not tag.startswith(CONDITION) or not equals:
            raise UserError(f'{word}: unknown tag {tag}; there are log, int, and "if SETTING=VALUE"')
        conditions[name.strip()] = value.strip()
    return conditions


def _distribution(override: Override, word: str) -> BaseDistribution:
    sweep, tags = _sweep(override), set(_tags(override))
    log, whole = "log" in tags, "int" in tags
    if isinstance(sweep, ChoiceSweep):
        if log or whole:
            raise UserError(f"{word}: a choice has no scale; leave the tag out")
        values = [_plain(value) for value in sweep.list]
        if len(set(map(repr, values))) < len(values):
            raise UserError(f"{word}: a value is there twice")
        return CategoricalDistribution(values)
    if isinstance(sweep, RangeSweep):
        return _range(sweep, word, log)
    assert isinstance(sweep, IntervalSweep)
    start, end = sweep.start, sweep.end
    if start is None or end is None or not start < end:
        raise UserError(f"{word}: an empty interval")
    if log and start <= 0:
        raise UserError(f"{word}: a logarithmic interval must lie above 0")
    if whole:
        if start != int(start) or end != int(end):
            raise UserError(f"{word}: the ends of an interval of whole numbers must be whole")
        return IntDistribution(int(start), int(end), log=log)
    return FloatDistribution(float(start), float(end), log=log)


def _range(sweep: RangeSweep, word: str, log: bool) -> BaseDistribution:
    start, stop, step = sweep.start or 0, sweep.stop, sweep.step
    assert stop is not None
    count = -int(-(stop - start) // step) if step > 0 else 0
    if count < 1:
        raise UserError(f"{word}: an empty range")
    last = start + (count - 1) * step
    if all(isinstance(value, int) for value in (start, stop, step)):
        if log and (start < 1 or step != 1):
            raise UserError(f"{word}: a logarithmic range needs a start of at least 1 and step 1")
        return IntDistribution(int(start), int(last), log=log, step=int(step))
    if log:
        raise UserError(f"{word}: a range with a step cannot be logarithmic; take interval()")
    return FloatDistribution(float(start), float(last), step=float(step))


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _check_condition(found: Mapping[str, Hyperparameter], name: str, other: str, value: str) -> None:
    if other not in found:
        raise UserError(f"{name}: depends on {other}, which is not searched; fix it, or search it with choice()")
    distribution = found[other].distribution
    if not isinstance(distribution, CategoricalDistribution):
        raise UserError(f"{name}: depends on {other}, which is not a choice()")
    known = [spell(choice) for choice in distribution.choices]
    if value not in known:
        raise UserError(f"{name}: depends on {other}={value}, which is none of {', '.join(known)}")


def _ordered(found: Mapping[str, Hyperparameter]) -> list[Hyperparameter]:
    """Put each hyperparameter after those that it depends on."""
    ordered: dict[str, Hyperparameter] = {}
    while len(ordered) < len(found):
        ready = [name for name, p in found.items() if name not in ordered and set(p.condition) <= set(ordered)]
        if not ready:
            raise UserError(f"search space: {', '.join(set(found) - set(ordered))} depend on each other in a circle")
        ordered |= {name: found[name] for name in ready}
    return list(ordered.values())
