"""Ray Tune's schedulers, as the settings of a search choose them."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining, hyperband
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from metalearn.runtime.console import say
from metalearn.search.engine_settings import PopulationSettings
from metalearn.search.on_ray.messages import TIME, Order
from metalearn.search.population import perturbed
from metalearn.search.settings import SearchSettings
from metalearn.search.space import Space


class _Bracket(hyperband._Bracket):
    """A bracket that is full once it was given all its trials; Ray's takes another one whenever a trial has ended."""

    def filled(self) -> bool:
        """True if no further trial may be added."""
        return bool(len(self._all_trials) >= self._n0)


class Hyperband(HyperBandScheduler):
    """Ray's Hyperband for trials that are asked for one after another, some of which may fail.

    In Ray 2.60 a bracket never becomes full if its trials end before. All trials may then train to their end in the
    first bracket. Ray also marks a bracket as being processed at its first rung and never takes the mark away. If a
    trial ends by itself after that, the other trials of its bracket stay paused.
    """

    def _create_bracket(self, s: int) -> Any:
        own: Any = self
        kind: Any = _Bracket
        return kind(time_attr=own._time_attr, max_trials=own._get_n0(s), init_t_attr=own._get_r0(s),
                    max_t_attr=own._max_t_attr, eta=own._eta, s=s, stop_last_trials=own._stop_last_trials)  # fmt: skip

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> Any:
        try:
            return super()._process_bracket(tune_controller, bracket)
        finally:
            bracket.is_being_processed = False


class Population(PopulationBasedTraining):
    """Ray's population-based training with this project's perturbation, which stays inside the space.

    All members wait for each other at each exchange, so that scores of the same meta-step are compared. Ray 2.60 sets
    the next exchange to the present time where members have come from different steps, after which all wait for ever;
    here it is always later.

    Args:
        space: of the search.
        settings: of the training.
        every: time between two exchanges.
        begin: time of the most advanced member, in a search that is resumed; the first exchange is later.
        order: returns the order of a member by its number, its new settings.
        seed: of the perturbations.
    """

    def __init__(self, space: Space, settings: PopulationSettings, *, every: float, begin: float,
                 order: Callable[[int, Mapping[str, Any]], Order], seed: int):  # fmt: skip
        super().__init__(time_attr=TIME, perturbation_interval=every, quantile_fraction=settings.quantile, synch=True,
                         custom_explore_fn=dict, log_config=False)  # fmt: skip
        self._space, self._order, self._settings = space, order, settings
        self._numbers = random.Random(seed)
        self._next_perturbation_sync = (math.floor(begin / every) + 1) * every

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide about a member that has a new score."""
        before = self._next_perturbation_sync
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if self._next_perturbation_sync != before:  # there was an exchange
            latest = max(state.last_train_time for state in self._trial_state.values())
            self._next_perturbation_sync = max(self._next_perturbation_sync, latest + self._perturbation_interval)
        return decision

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the configuration of a member that takes over another."""
        number, good = Order.read(trial.config).number, Order.read(trial_to_clone.config)
        settings = perturbed(self._space, good.settings, self._settings, self._numbers)
        words = " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                         for name, value in settings.items())  # fmt: skip
        say(f"trial {number} takes over trial {good.number}: {words}")
        return self._order(number, settings).spell(), {}


def scheduler_of(settings: SearchSettings, steps: int, unit: int) -> TrialScheduler:
    """Return the scheduler of a search by a sampler.

    Args:
        settings: of the search.
        steps: meta-steps of a full training.
        unit: meta-steps that count as one.
    """
    most = math.ceil(steps / unit)
    if settings.prune == "asha":
        return ASHAScheduler(time_attr=TIME, max_t=most, grace_period=1, reduction_factor=settings.factor)
    if settings.compete == "hyperband":
        return Hyperband(time_attr=TIME, max_t=most, reduction_factor=settings.factor)
    return FIFOScheduler()
