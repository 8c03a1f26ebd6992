"""The space of a search: its hyperparameters, their values, and which depend on which."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from metalearn.config.groups import is_group
from metalearn.search.spelling import spell


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
    """The hyperparameters of a search, each after those that it depends on.

    Args:
        left_out: conditions by the names of hyperparameters that cannot exist, since a fixed setting has another value.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

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

    def examples(self) -> list[list[str]]:
        """Return configurations in which every hyperparameter and every choice of a group occurs."""
        conditions = [parameter.condition for parameter in self.hyperparameters]
        asked = [{}, *conditions, *({parameter.name: spell(choice)}
                                    for parameter in self.hyperparameters if is_group(parameter.name)
                                    for choice in _choices(parameter))]  # fmt: skip
        found: dict[tuple[str, ...], None] = {}
        for wanted in asked:
            found[tuple(self._example(wanted))] = None
        return [list(words) for words in found]

    def _example(self, wanted: Mapping[str, str]) -> list[str]:
        """Return a configuration with these choices, and with the first value of all else that exists in it."""
        by_name = {parameter.name: parameter for parameter in self.hyperparameters}
        wanted, waiting = dict(wanted), list(wanted)
        while waiting:
            conditions = by_name[waiting.pop()].condition
            waiting += [name for name in conditions if name not in wanted]
            wanted |= conditions
        values: dict[str, Any] = {}
        for name, parameter in by_name.items():
            if all(other in values and spell(values[other]) == value for other, value in parameter.condition.items()):
                choices = _choices(parameter)
                values[name] = next((c for c in choices if spell(c) == wanted.get(name)), choices[0])
        return self.overrides(values)


def _choices(parameter: Hyperparameter) -> list[Any]:
    """Return the values of a choice, or the lowest value of a range or an interval."""
    distribution: Any = parameter.distribution
    return list(distribution.choices) if hasattr(distribution, "choices") else [distribution.low]


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
