"""Initial weights from another run: `init=RUN`."""

from pathlib import Path
from typing import Any, NamedTuple

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import MetaParameters
from metalearn.learner import training_classes
from metalearn.recording import checkpoint
from metalearn.runtime.console import say
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import write_atomically

FILE = "init.pt"  # in the run's checkpoints: a copy, so that a resumed run does not need the other run any more


class Initial(NamedTuple):
    """Weights to start from."""

    source: str  # the run's folder name and the digest of its weights
    params: MetaParameters
    classes: list[str] | None  # of their training, as digests; None if unknown

    def fill(self, params: MetaParameters, algorithm: Algorithm) -> list[str]:
        """Overwrite freshly initialized meta-parameters with these.

        Entries that belong to an algorithm and not to its model (learned rates, running statistics, the classifier of
        pretrain) are taken over where names and shapes agree, and stay fresh elsewhere. So does a head of another
        width, if no learned head is needed: the inner loop adapts only the head or starts from a head at zero, or the
        other run's head is zero.

        Returns:
            The names of the model's entries that stay fresh.

        Raises:
            UserError: these weights are of another model. `params` is unchanged then.
        """
        here, there, head = params.shapes(), self.params.shapes(), algorithm.head.names
        fresh = [name for name, shape in here["model"].items() if there["model"].get(name) != shape]
        wrong = [name for name in fresh if name not in head or name not in there["model"]]
        wrong += [name for name in there["model"] if name not in here["model"]]
        if wrong:
            other, own = there["model"].get(wrong[0]), here["model"].get(wrong[0])
            raise UserError(
                f"init: {self.source}: is of another model: {wrong[0]} is {_spell(other)} there and {_spell(own)} here"
            )
        zero = not any(self.params.model[name].any() for name in head)
        if fresh and not (zero or algorithm.can_replace_head):
            raise UserError(
                f"init: {self.source}: has a learned head for {there['model'][head[0]][0]} outputs, and "
                f"{here['model'][head[0]][0]} are needed; algo=anil, algo=pretrain and algo.zero_head=true "
                "can begin with a new head, or keep way="
            )
        if algorithm.keeps_head_at_zero:
            fresh = [*head]
        source, target = self.params.content(), params.content()
        for group, entries in target.items():
            for name, value in entries.items():
                skip = group == "model" and name in fresh
                if not skip and there[group].get(name) == here[group][name]:
                    value.detach().copy_(source[group][name])
        return fresh


def read(place: str) -> Initial:
    """Read the weights of another run; code in the file is never run.

    Args:
        place: a run's folder, whose best learner is taken, or a checkpoint.

    Raises:
        UserError: no such run, or a damaged checkpoint.
    """
    try:
        file = checkpoint.find(Path(place))
        content = checkpoint.read(file)
    except UserError as error:
        what = str(error).removeprefix(f"{Path(place)}: ").removesuffix(f": {Path(place)}")
        raise type(error)(f"init={place}: {what}") from error
    params = MetaParameters.of(content["params"])
    folder = Path(place).resolve() if Path(place).is_dir() else file.resolve()
    source = f"{folder.name} {checkpoint.digest(params.content())[:16]}"
    return Initial(source, params, training_classes.of_spec(content["spec"]))


def of_run(folder: Path, place: str, known: Initial | None) -> Initial:
    """Return the weights that the run in this folder starts from, and keep a copy of them there.

    Args:
        place: the setting `init`.
        known: what was read from there already.
    """
    kept = folder / "checkpoints" / FILE
    if kept.exists():
        content = checkpoint.read(kept)
        classes = training_classes.of_spec(content["spec"])
        return Initial(str(content["source"]), MetaParameters.of(content["params"]), classes)
    initial = known or read(place)
    content = {
        "spec": {training_classes.ENTRY: initial.classes},
        "step": 0,
        "params": initial.params.content(),
        "source": initial.source,
    }
    write_atomically(kept, checkpoint.pack(content))
    return initial


def start(initial: Initial, params: MetaParameters, algorithm: Algorithm) -> None:
    """Overwrite freshly initialized meta-parameters, and tell the user."""
    fresh = initial.fill(params, algorithm)
    say(f"starting from the weights of {initial.source}" + (" with a new head" if fresh else ""))


def _spell(shape: Any) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a number"
