"""Omniglot if available, otherwise generated glyphs with a notice."""

from collections.abc import Mapping
from typing import Any

from metalearn.config.instantiate import build, call
from metalearn.data import omniglot
from metalearn.data.base import Dataset
from metalearn.runtime.errors import NotFound


def load(*, glyphs: dict[str, Any], **settings: Any) -> Dataset:
    """Load Omniglot, or glyphs with a notice if Omniglot is missing and cannot be downloaded.

    Args:
        glyphs: `_target_` and settings of metalearn.data.glyphs.load.
        settings: of metalearn.data.omniglot.load.

    Raises:
        UserError: damaged files or a wrong setting, as with data=omniglot. Only missing data are replaced.
    """
    try:
        dataset: Dataset = call(omniglot.load, settings, "data")
        return dataset
    except NotFound as error:
        notice = f"these are generated GLYPHS, not Omniglot ({error}). Do not compare results with Omniglot's."
        return build(glyphs, "data.glyphs", Dataset, notice=notice)


def found(node: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of the data set that was found, as if it had been chosen by its name.

    Args:
        node: the settings of any data set.
        name: of the data set that they gave.
    """
    if node["_target_"] != f"{__name__}.load":
        return dict(node)
    others = {key: value for key, value in node.items() if key != "glyphs"}
    return {**others, "_target_": f"{omniglot.__name__}.load"} if name == "omniglot" else dict(node["glyphs"])
