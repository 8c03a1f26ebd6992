"""Make a scheduler of torch.optim.lr_scheduler from settings, nested ones too, and check every argument first."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, OneCycleLR, ReduceLROnPlateau, SequentialLR

from metalearn.config.instantiate import call
from metalearn.config.similar import did_you_mean
from metalearn.runtime.errors import UserError

PLACE = "outer.schedule"  # the setting
SHORT = ("constant", "linear", "cosine")  # names that need no arguments
_FUNCTIONS = ("LambdaLR", "MultiplicativeLR")  # take functions
_BASES = ("LRScheduler", "_LRScheduler")
KINDS: dict[str, type[LRScheduler]] = {
    name: kind
    for name, kind in sorted(vars(lr_scheduler).items())
    if inspect.isclass(kind) and issubclass(kind, LRScheduler) and name not in (*_FUNCTIONS, *_BASES)
}
_FIXED = {  # arguments that are no settings, and why
    "optimizer": "is the outer optimizer",
    "last_epoch": "is counted by the run",
    "mode": "follows from the score: accuracy is to rise, the mean squared error to fall",
    "scale_fn": "is a function, which a run cannot record; choose mode=",
}
_MISFITS = (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError, AssertionError)
# SequentialLR of older torch warns of its own calls
warnings.filterwarnings("ignore", r"The epoch parameter in `scheduler\.step", UserWarning)


def expanded(schedule: str | Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return the settings of a scheduler, with its class by name, for a setting that may be short.

    Args:
        schedule: `constant`, `linear` or `cosine`; the name of a class; or {name: a class, its arguments}.
        steps: meta-steps of the run.

    Raises:
        UserError: no such name.
    """
    if isinstance(schedule, Mapping):
        return dict(schedule)
    length = max(1, steps)
    short: dict[str, dict[str, Any]] = {
        "constant": {"name": "ConstantLR", "factor": 1.0, "total_iters": 1},
        "linear": {"name": "LinearLR", "start_factor": 1.0, "end_factor": 0.0, "total_iters": length},
        "cosine": {"name": "CosineAnnealingLR", "T_max": length},
    }
    _kind(schedule, PLACE, SHORT)
    return short.get(schedule, {"name": schedule})


def make(node: Mapping[str, Any], steps: int, maximize: bool, optimizer: Optimizer,
         trial: Callable[[], Optimizer]) -> LRScheduler:  # fmt: skip
    """Make a scheduler for a run.

    Args:
        node: its settings, see `expanded`.
        steps: meta-steps of the run.
        maximize: True if a higher score is better.
        optimizer: whose rate it changes.
        trial: makes another optimizer with the same settings, to try a scheduler on.

    Raises:
        UserError: an argument is wrong, or the schedule ends before the run.
    """
    made = _make(node, PLACE, maximize, optimizer, trial)
    _check_length(made, steps, PLACE)
    return made


def _make(node: Any, place: str, maximize: bool, optimizer: Optimizer, trial: Callable[[], Optimizer]) -> LRScheduler:
    """Make a scheduler and those in it."""
    if not isinstance(node, Mapping) or "name" not in node:
        raise UserError(f"{place}={node}: a scheduler of torch.optim with its arguments is needed here, such as "
                        "{name: StepLR, step_size: 1000}")  # fmt: skip
    kind, values = _kind(node["name"], f"{place}.name"), {k: v for k, v in node.items() if k != "name"}
    if kind is ReduceLROnPlateau and place != PLACE:
        raise UserError(f"{place}.name=ReduceLROnPlateau: steps at each measurement, and the schedulers around it at "
                        "each meta-step; it can only be the whole schedule")  # fmt: skip
    parameters = inspect.signature(kind).parameters
    for name, why in _FIXED.items():
        if name in values and name in parameters and (name != "mode" or kind is ReduceLROnPlateau):
            raise UserError(f"{place}.{name}: {why}: leave it out")
    for name, value in values.items():
        _check_sign(value, f"{place}.{name}")
    given: dict[str, Any] = {"last_epoch": -1} if "last_epoch" in parameters else {}
    if kind is ReduceLROnPlateau:
        given["mode"] = "max" if maximize else "min"
    if "schedulers" in parameters:
        inner = _members(values, place)
        _check_milestones(values.get("milestones", []), f"{place}.milestones")
        given["schedulers"] = [
            _make(member, f"{place}.schedulers[{i}]", maximize, optimizer, trial) for i, member in enumerate(inner)
        ]
        values = {name: value for name, value in values.items() if name != "schedulers"}
    try:
        if "schedulers" not in given:
            _try(call(kind, values, place, optimizer=trial(), **given))
        return call(kind, values, place, optimizer=optimizer, **given)  # type: ignore[no-any-return]
    except _MISFITS as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{place}: {kind.__name__} cannot work with these arguments: {_line(error)}") from error


def _kind(name: Any, place: str, short: Sequence[str] = ()) -> type[LRScheduler]:
    """Return the class of a name; LRScheduler itself for a short name."""
    if name in short:
        return LRScheduler
    known = f"choose {', '.join([*short, *KINDS])}"
    if name in _FUNCTIONS:
        raise UserError(f"{place}={name}: takes a function, which a run cannot record; {known}")
    if not isinstance(name, str) or name not in KINDS:
        guess = did_you_mean(str(name), [*short, *KINDS])
        raise UserError(f"{place}={name}: not a scheduler of torch.optim{guess}; {known}")
    return KINDS[name]


def _members(values: Mapping[str, Any], place: str) -> Sequence[Any]:
    """Return the settings of the schedulers in a scheduler."""
    members = values.get("schedulers")
    if not isinstance(members, (list, tuple)) or not members:
        raise UserError(f"{place}.schedulers={members}: a list of schedulers is needed here, such as "
                        "[{name: LinearLR, total_iters: 100}, {name: ExponentialLR, gamma: 0.999}]")  # fmt: skip
    return members


def _check_sign(value: Any, place: str) -> None:
    """Refuse a negative number: a negative rate climbs the loss. A threshold may be negative."""
    for number in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(number, (int, float)) and number < 0 and not place.endswith(".threshold"):
            raise UserError(f"{place}={value}: must be at least 0")


def _check_milestones(milestones: Any, place: str) -> None:
    if isinstance(milestones, (list, tuple)) and all(isinstance(m, int) for m in milestones):
        if any(a >= b for a, b in pairwise(milestones)):
            raise UserError(f"{place}={milestones}: must be meta-steps in rising order")


def _try(scheduler: LRScheduler) -> None:
    """Take two steps of a scheduler on its own: some arguments fail only then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no optimizer steps between
        for _ in range(2):
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(0.0)
            else:
                scheduler.step()


def _check_length(scheduler: LRScheduler, steps: int, place: str) -> None:
    """Refuse a schedule that ends before its part of the run: OneCycleLR raises an error then.

    Args:
        steps: the meta-steps of this part.
    """
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < steps:
        way = "total_steps: ${steps}" if place == PLACE else f"total_steps: {steps}"
        raise UserError(f"{place}: OneCycleLR ends after {scheduler.total_steps} of {steps} meta-steps; set {way}")
    if isinstance(scheduler, SequentialLR):
        bounds = [min(steps, bound) for bound in (0, *scheduler._milestones, steps)]
        for i, (member, (start, end)) in enumerate(zip(scheduler._schedulers, pairwise(bounds), strict=True)):
            _check_length(member, end - start, f"{place}.schedulers[{i}]")
    elif isinstance(scheduler, ChainedScheduler):
        for i, member in enumerate(scheduler._schedulers):
            _check_length(member, steps, f"{place}.schedulers[{i}]")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
