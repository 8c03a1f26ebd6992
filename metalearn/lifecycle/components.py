"""Data sets, models and algorithms from Python, with the values of the files in conf/ unless others are given."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.objective import objective_for
from metalearn.config.compose import choice
from metalearn.config.instantiate import UnknownSetting, build, check
from metalearn.config.similar import did_you_mean
from metalearn.data.base import Dataset
from metalearn.models.build import build_model, head_setting
from metalearn.models.checks import feature_width
from metalearn.models.functional import Functional
from metalearn.models.head import NEW, WithHead, find_head
from metalearn.models.torch_layers import pure
from metalearn.runtime.errors import UserError


def dataset(name: str, **settings: Any) -> Dataset:
    """Load a data set.

    Args:
        name: a file of conf/data, such as `omniglot`, `glyphs`, `folder`.
        settings: replace the values of that file, such as `root="images"`.

    Raises:
        UserError: no such data set, a wrong setting, or data that cannot be read.
    """
    check(name, str, "name")
    with _python_words("data", f"data set {name}"):
        return build(choice("data", name, settings)["data"], "data", Dataset)


def model(name: str, *, shape: Sequence[int], outputs: int, **settings: Any) -> nn.Module:
    """Build a model with fresh weights from torch's random generator.

    Args:
        name: a file of conf/model, such as `conv4`.
        shape: of one input, (C, H, W) or (D,); `Dataset.shape`.
        outputs: the number of ways, or the dimension of a regression target.
        settings: replace the values of that file, such as `filters=32`; also `head` and `repeat_channels`, see
            metalearn.models.build.build_model.

    Raises:
        UserError: no such model, a wrong setting, or a model that cannot be used.
    """
    _check_shape(shape)
    check(outputs, int, "outputs")
    with _python_words("model", f"model {name}"):
        node = choice("model", name, settings)["model"]
        made = build_model(node, shape, outputs)
    Functional(pure(made), find_head(made, head_setting(node))).check(shape)
    return made


def algorithm(
    name: str,
    model: nn.Module,
    *,
    way: int,
    shot: int,
    head: str | None = None,
    shape: Sequence[int] | None = None,
    query: int | None = None,
    norm: str | None = None,
    labels: int | None = None,
    regression: bool = False,
    **settings: Any,
) -> Algorithm:
    """Make an algorithm.

    Args:
        name: a file of conf/algo, such as `maml`.
        model: the architecture and the initial weights: any module that maps inputs to class scores, or with
            `head="new"` to features.
        way: classes in a task.
        shot: support images a class.
        head: the name of the model's last layer, an nn.Linear, such as `fc`; by default the last nn.Linear. `new` puts
            a linear head at zero on a module of features.
        shape: of one input, (C, H, W) or (D,); the model is then checked at once and not at its first use. `head="new"`
            needs it.
        query: query images a class in a training task; by default as in conf/.
        norm: batch-norm statistics, `transductive`, `support` or `per_step`; by default as in conf/.
        labels: classes of the training source (`TaskSource.labels`); `pretrain` needs it.
        regression: use the mean squared error, not cross-entropy.
        settings: replace the values of that file, such as `inner_steps=5`.

    Raises:
        UserError: no such algorithm, a wrong setting, or a model that cannot be used.
    """
    for argument, size in {"way": way, "shot": shot, "query": query}.items():
        check(size, int | None if argument == "query" else int, argument)
    if shape is not None:
        _check_shape(shape)
    if head == NEW:
        if shape is None:
            raise UserError('head="new": needs shape=, the shape of one input, such as (3, 84, 84)')
        model, head = WithHead(model, feature_width(pure(model), shape), 1 if regression else way), "head"
    with _python_words("algo", f"algorithm {name}"):
        values = choice("algo", name, settings)
    given = {"query": values["query"] if query is None else query, "norm": values["norm"] if norm is None else norm}
    given |= {"head_layer": head, "way": way, "shot": shot, "labels": labels, "objective": objective_for(regression)}
    with _python_words("algo", f"algorithm {name}", own=("head", "shape", "query", "norm", "labels", "regression")):
        made = build(values["algo"], "algo", Algorithm, model=model, **given)
    if shape is not None:
        made.net.check(shape)
    return made


def _check_shape(shape: Any) -> None:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(isinstance(n, int) for n in shape):
        raise UserError(f"shape={shape!r}: give the shape of one input, (C, H, W) or (D,), such as dataset.shape")


@contextmanager
def _python_words(group: str, owner: str, own: Sequence[str] = ()) -> Iterator[None]:
    """Write errors in the words of Python: settings are keyword arguments, without the name of their group.

    Args:
        group: such as `algo`.
        owner: what has the settings, for the message.
        own: further arguments of the function that is called.
    """
    try:
        yield
    except UnknownSetting as error:
        inside = error.place.partition(".")[2]
        known = [*error.known, *(() if inside else own)]
        guess = did_you_mean(error.name, known, "{}" if inside else "{}=", 0.7)
        what = f"{inside}: {error.name}" if inside else f"{error.name}="
        raise UserError(
            f"{what}: {error.owner if inside else owner} has no such setting{guess}; it has {', '.join(known)}"
        ) from error
    except UserError as error:
        text = re.sub(rf"(?<![\w.]){group}\.(?=\w)", "", str(error))
        text = re.sub(r"(\w+)\.name=(\w+)$", r'\1={"name": "\2"}', text)
        raise type(error)(text.removesuffix(", see --help")) from error
