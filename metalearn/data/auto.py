"""Omniglot where it can be had, else glyphs, said so."""

from typing import Any

from metalearn.config.instantiate import build, call
from metalearn.data import omniglot
from metalearn.data.base import Dataset
from metalearn.errors import NotFound


def load(*, glyphs: dict[str, Any], **settings: Any) -> Dataset:
    """Omniglot with `settings` (see metalearn.data.omniglot.load); where it is not to be had, glyphs with a notice.

    Only missing data are replaced: damaged files or a wrong setting are errors, as with data=omniglot.
    """
    try:
        dataset: Dataset = call(omniglot.load, settings, "data")
        return dataset
    except NotFound as error:
        return build(glyphs, "data.glyphs", Dataset, notice=(
            f"these are generated GLYPHS, not Omniglot ({error}). Results do not compare with Omniglot's."
        ))  # fmt: skip
