"""Initial weights from another run: `init=RUN`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from metalearn.algorithms.base import RATE, RUNNING, Algorithm, Meta
from metalearn.algorithms.pretrain import CLASSIFIER
from metalearn.errors import UserError
from metalearn.recording import checkpoint
from metalearn.runtime.console import say
from metalearn.runtime.files import write_atomically

FILE = "init.pt"  # in the run's checkpoints: a copy, so that a resumed run does not need the other run any more
HEAD = ("head.weight", "head.bias")


class Initial(NamedTuple):
    """Weights to start from."""

    source: str  # the run's folder name and the digest of its weights
    meta: Mapping[str, Tensor]

    def fill(self, meta: Meta, algorithm: Algorithm) -> list[str]:
        """Overwrite freshly initialized meta-parameters with these.

        Entries that belong to an algorithm and not to its model (learned rates, running statistics, the classifier of
        pretrain) are taken over where names and shapes agree, and stay fresh elsewhere. So does a head of another
        width, where no learned head is needed: the inner loop adapts the head alone, or the other run's head is zero.

        Returns:
            The names of the model's entries that stay fresh.

        Raises:
            UserError: these weights are of another model. `meta` is unchanged then.
        """
        model = {name: tuple(value.shape) for name, value in algorithm.model.named_parameters()}
        found = {name: tuple(value.shape) for name, value in self.meta.items()}
        other = [name for name in found if name not in meta and not name.startswith((RATE, RUNNING, CLASSIFIER))]
        fresh = [name for name, shape in model.items() if found.get(name) != shape]
        wrong = [name for name in fresh if name not in HEAD or name not in found] + other
        if wrong:
            here, there = model.get(wrong[0]), found.get(wrong[0])
            raise UserError(f"init: {self.source}: is of another model: {wrong[0]} is {_spell(there)} there and "
                            f"{_spell(here)} here")  # fmt: skip
        if fresh and not self._can_replace_head(meta, algorithm):
            raise UserError(f"init: {self.source}: has a learned head for {found[HEAD[0]][0]} outputs, and "
                            f"{model[HEAD[0]][0]} are needed; algo=anil and algo=pretrain can begin with a new head, "
                            "or keep way=")  # fmt: skip
        if _has_classifier(meta):  # pretrain keeps its head at zero
            fresh = [*HEAD]
        for name in meta:
            if name not in fresh and found.get(name) == tuple(meta[name].shape):
                meta[name].detach().copy_(self.meta[name])
        return fresh

    def _can_replace_head(self, meta: Meta, algorithm: Algorithm) -> bool:
        """True if a learned head would have no part in training, or if there is none."""
        head_alone = all(name in HEAD for name in algorithm.weights(meta) if algorithm.adapts(name))
        return head_alone or _has_classifier(meta) or not any(self.meta[name].any() for name in HEAD)


def _has_classifier(meta: Meta) -> bool:
    return any(name.startswith(CLASSIFIER) for name in meta)


def read(place: str) -> Initial:
    """Read the weights of another run; code in the file is never run.

    Args:
        place: a run's folder, whose best learner is taken, or a checkpoint.

    Raises:
        UserError: no such run, or a damaged checkpoint.
    """
    try:
        file = checkpoint.find(Path(place))
        meta = checkpoint.read(file)["meta"]
    except UserError as error:
        raise type(error)(f"init={place}: {error}") from error
    folder = Path(place).resolve() if Path(place).is_dir() else file.resolve()
    return Initial(f"{folder.name} {checkpoint.digest(meta)[:16]}", meta)


def of_run(folder: Path, place: str, known: Initial | None) -> Initial:
    """Return the weights that the run in this folder starts from, and keep a copy of them there.

    Args:
        place: the setting `init`.
        known: what was read from there already.
    """
    kept = folder / "checkpoints" / FILE
    if kept.exists():
        content = checkpoint.read(kept)
        return Initial(str(content["source"]), content["meta"])
    initial = known or read(place)
    content = {"spec": {}, "step": 0, "meta": dict(initial.meta), "source": initial.source}
    write_atomically(kept, checkpoint.pack(content))
    return initial


def start(initial: Initial, meta: Meta, algorithm: Algorithm) -> None:
    """Overwrite freshly initialized meta-parameters, and tell the user."""
    fresh = initial.fill(meta, algorithm)
    say(f"starting from the weights of {initial.source}" + (" with a new head" if fresh else ""))


def _spell(shape: Any) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a number"
