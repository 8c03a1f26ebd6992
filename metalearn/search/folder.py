"""The folder of a study: found again by what it searches."""

import json
from pathlib import Path
from typing import Any

from optuna import Study

from metalearn.runtime.errors import UserError
from metalearn.runtime.files import read_json, write_atomically
from metalearn.search.records import IDENTITY
from metalearn.search.spec import changes, extends

FILE = "search.json"  # what is searched and how; its presence marks the folder of a study


def write_spec(folder: Path, spec: dict[str, Any]) -> None:
    """Write what a study searches, for people and for `resume=auto`, if it is not there."""
    data = (json.dumps(spec, indent=1) + "\n").encode()
    if not (folder / FILE).exists() or (folder / FILE).read_bytes() != data:
        write_atomically(folder / FILE, data)


def find_study(folders: Path, spec: dict[str, Any]) -> Path | None:
    """Return the newest subfolder with a study of this spec, else with one that this spec extends, else None."""
    found = sorted(folders.glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    shorter = None
    for file in found:
        try:
            earlier = read_json(file)
            changed = changes(earlier, spec)
        except (OSError, ValueError, AttributeError):  # of another program
            continue
        if not changed and not extends(earlier, spec):
            return file.parent
        if not changed and shorter is None:
            shorter = file.parent
    return shorter


def check_folder(folder: Path, record: Study) -> None:
    """Refuse a folder with another study than the one in a database, whose trials would have the same numbers.

    Raises:
        UserError: the folder has another study.
    """
    if (folder / FILE).exists() and read_json(folder / FILE).get(IDENTITY) != record.user_attrs[IDENTITY]:
        raise UserError(f"{folder}: contains another study: choose another search.name= or hydra.sweep.dir=")
