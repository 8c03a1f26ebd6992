"""A search that is checked before anything is written."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Transformer

from metalearn.config.groups import is_group
from metalearn.config.instantiate import call
from metalearn.lifecycle.setup import Setup, prepare
from metalearn.runtime.errors import UserError
from metalearn.search import population
from metalearn.search.competition import Competition, plan
from metalearn.search.grid import size
from metalearn.search.parse import parse, split
from metalearn.search.samplers import SeededSampler
from metalearn.search.settings import Goal, SearchSettings, goals
from metalearn.search.space import Space
from metalearn.search.spec import COMPETE, TOTAL
from metalearn.search.spelling import spell
from metalearn.search.study_loop import check_criteria
from metalearn.search.trial import SILENT, Compose

_OWN = ("search", "resume", "trust")  # settings of the search, not of its trials
_MACHINE = ("device", "data.root")  # settings in which the machines of a study may differ


@dataclass(frozen=True)
class Plan:
    """A search that is accepted, before any trial.

    Args:
        fixed: words of the command line that all trials share.
        setup: the parts of a run with the default settings.
        pictures: format of the report's pictures: png, pdf, svg; none draws none.
    """

    settings: SearchSettings
    space: Space
    fixed: Sequence[str]
    setup: Setup
    goals: Sequence[Goal]
    competition: Competition | None
    pictures: str

    @property
    def spec(self) -> dict[str, Any]:
        """Facts that a resumed study must share with the one that was begun, by the names that messages use."""
        settings = self.settings
        return {
            "space": self.space.describe(),
            "sampler": settings.sampler,
            "options of the sampler": dict(settings.options),
            "objectives": [goal.name for goal in self.goals],
            TOTAL: settings.trials,
            "seed": settings.seed,
            "seeds": settings.seeds,
            "prune": settings.prune,
            COMPETE: settings.compete,
            "control": dict(settings.control),
            "settings of all trials": sorted(word for word in self.fixed if not _names(word, _MACHINE)),
            "engine": settings.engine,
            "population": None if settings.pbt is None else settings.pbt | {"trials": settings.trials},
            "data set": f"{self.setup.dataset.name}, {self.setup.dataset.fingerprint[:16]}",
        }


def accept(words: Sequence[str], config: Mapping[str, Any], compose: Compose) -> Plan:
    """Check a search before anything is written.

    Raises:
        UserError: a setting is wrong, or the sampler, the space and the rest do not go together.
    """
    settings: SearchSettings = call(SearchSettings, config["search"], "search")
    fixed, searched = split(words)
    if own := [word for word in searched if _names(word, _OWN)]:
        raise UserError(f"{own[0]}: one search at a time")
    fixed = [word for word in fixed if not _names(word, _OWN)]
    typed = {word.partition("=")[0].lstrip("+") for word in (*searched, *fixed)}
    space = parse(
        [*(f"{key}={value}" for key, value in settings.space.items() if key.lstrip("+") not in typed), *searched],
        lambda name: _value(name, fixed, compose),
    )
    SeededSampler(settings.draws_by, space, settings.seed, settings.options, max(1, len(settings.objectives)))
    check_criteria(settings.control)
    for example in space.examples():
        compose([*fixed, *example, *SILENT])  # an unknown key or choice of a group is refused
    setup = prepare(compose([*fixed, *SILENT]))
    if settings.engine == "ray":
        _check_ray(settings, setup, space, [*fixed, *SILENT], compose)
    found = goals(settings, f"val_{setup.objective.name}")
    if settings.sampler == "grid" and (most := size(space)) < settings.trials:
        settings = call(SearchSettings, {**config["search"], "trials": most}, "search")
    competition = None
    if settings.compete != "none" and settings.engine == "embedded":
        competition = plan(
            settings.compete,
            trials=settings.trials,
            iterations=setup.settings.steps,
            every=setup.evaluation.every,
            factor=settings.factor,
            first=settings.first_rung,
            maximize=found[0].maximize,
        )
    return Plan(settings, space, fixed, setup, found, competition, str(config["pictures"]))


def _check_ray(settings: SearchSettings, setup: Setup, space: Space, fixed: Sequence[str], compose: Compose) -> None:
    """Check what only a search by Ray Tune needs."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("search.engine=ray: needs Ray Tune; in the clone: pip install '.[ray]'")
    first = settings.first_rung or setup.evaluation.every
    settings.check_rungs(settings.prune, settings.compete, settings.factor, setup.settings.steps, first)
    if settings.pbt is not None:
        population.check(space, fixed, compose)


def _value(name: str, fixed: Sequence[str], compose: Compose) -> str:
    """Return the value of a setting that is not searched, as on the command line.

    Raises:
        UserError: there is no such setting, it is a group of settings, or a group whose choice is not among the words.
    """
    if is_group(name):
        chosen = [word.partition("=")[2] for word in fixed if word.partition("=")[0].lstrip("+") == name]
        if not chosen:
            raise UserError(f"search: a hyperparameter depends on {name}: choose one in the command, by {name}=")
        return chosen[-1]
    node: Any = compose([*fixed, *SILENT])
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise UserError(f"search: a hyperparameter depends on {name}, which is no setting of these runs")
        node = node[part]
    if isinstance(node, Mapping):
        raise UserError(f"search: a hyperparameter depends on {name}, which is a group of settings; name one of them")
    return Transformer.str(node) if isinstance(node, list) else spell(node)


def _names(word: str, names: Sequence[str]) -> bool:
    """True if a word sets one of these settings, or a part of one."""
    key = word.partition("=")[0].lstrip("+~")
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in names)
