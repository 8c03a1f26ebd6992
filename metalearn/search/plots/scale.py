"""The axis of a hyperparameter: places and ticks for choices, whole numbers, and logarithmic scales."""

import math
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from metalearn.search.space import Hyperparameter

_FEW = 8  # values of a range that all get a tick
_GOLDEN = 0.618034
_LETTERS = 14  # of a choice's name


class Scale:
    """Places of a hyperparameter's values on a linear axis, which may stand for a logarithmic one.

    Args:
        parameter: with its distribution, whose ends are those of the axis.
    """

    def __init__(self, parameter: Hyperparameter):
        distribution: Any = parameter.distribution
        self._choices = list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else None
        self._log = self._choices is None and bool(distribution.log)
        self._whole = isinstance(distribution, IntDistribution)
        if self._choices is None:
            self._low, self._high = float(distribution.low), float(distribution.high)
            self._step = 0.0 if self._log else float(distribution.step or 0)
        else:
            self._low, self._high, self._step = 0.0, float(len(self._choices) - 1), 1.0

    @property
    def _few(self) -> bool:
        """True for choices, and for a short range."""
        return bool(self._step) and (self._high - self._low) / self._step < _FEW

    def place(self, value: Any) -> float:
        """Return the place of a value."""
        if self._choices is not None:
            return float(next(i for i, choice in enumerate(self._choices) if choice == value))
        return math.log10(value) if self._log else float(value)

    def beside(self, value: Any, number: int) -> float:
        """Return a place near that of a value, another for each trial, where many trials have the same value."""
        return self.place(value) + (0.24 * self._step * (number * _GOLDEN % 1 - 0.5) if self._few else 0)

    def share(self, value: Any) -> float:
        """Return the place of a value between 0 and 1."""
        low, high = self._place(self._low), self._place(self._high)
        return (self.place(value) - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[Any, str]]:
        """Return values and their labels, few enough to be read."""
        if self._choices is not None:
            return [(choice, _short(str(choice))) for choice in self._choices]
        values = self._log_ticks() if self._log else self._linear_ticks()
        inside = [value for value in values if self._low * (1 - 1e-9) <= value <= self._high * (1 + 1e-9)]
        return [(int(value) if self._whole else value, f"{value:g}") for value in inside]

    def label(self, axis: Any, name: str) -> None:
        """Give the x axis of a panel its ends, ticks and name."""
        ticks = self.ticks()
        axis.set_xticks([self.place(value) for value, _ in ticks], [text for _, text in ticks])
        low, high = self._place(self._low), self._place(self._high)
        margin = 0.4 * self._step if self._few else 0.05 * (high - low) or 0.5
        axis.set(xlim=(low - margin, high + margin), xlabel=name)

    def _place(self, end: float) -> float:
        return math.log10(end) if self._log else end

    def _log_ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self._low)), math.ceil(math.log10(self._high)) + 1)
        series: list[tuple[float, ...]] = [(1, 2, 5), (1, 3), (1,)]
        low, high = self._low * (1 - 1e-9), self._high * (1 + 1e-9)
        for factors in series:
            found = [value for d in decades for f in factors if low <= (value := f * 10.0**d) <= high]
            if len(found) <= 5:
                return sorted({self._low, self._high}) if len(found) < 2 else found
        return found[:: math.ceil(len(found) / 5)]

    def _linear_ticks(self) -> list[float]:
        from matplotlib.ticker import MaxNLocator

        if self._few:
            return [self._low + i * self._step for i in range(round((self._high - self._low) / self._step) + 1)]
        return [float(value) for value in MaxNLocator(4, integer=self._whole).tick_values(self._low, self._high)]


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
