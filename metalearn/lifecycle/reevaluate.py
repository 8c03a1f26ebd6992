"""Evaluate a trained learner on tasks other than those of its run."""

from pathlib import Path
from typing import Any

from metalearn.lifecycle.final_test import measured
from metalearn.lifecycle.trained import Prepared
from metalearn.runtime.progress import Progress


def reevaluate(prepared: Prepared) -> tuple[dict[str, Any], Path]:
    """Evaluate a learner and write the record.

    Returns:
        The content of result.json, and its folder.
    """
    prepared.say("evaluating")
    found = measured(
        prepared.algorithm,
        prepared.params,
        prepared.source,
        progress=Progress(),
        check=lambda: None,
        precision=prepared.tasks.precision,
        **prepared.sizes,
    )
    return prepared.write("evaluations", found)
