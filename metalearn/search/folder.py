"""The folder of a study: found again by what it searches."""

import json
from pathlib import Path
from typing import Any

from optuna import Study

from metalearn.errors import UserError
from metalearn.runtime.files import read_json, write_atomically
from metalearn.search.records import IDENTITY

FILE = "search.json"  # what is searched and how; its presence marks the folder of a study


def write_spec(folder: Path, spec: dict[str, Any]) -> None:
    """Write what a study searches, for people and for `resume=auto`."""
    write_atomically(folder / FILE, (json.dumps(spec, indent=1) + "\n").encode())


def find_study(folders: Path, spec: dict[str, Any]) -> Path | None:
    """Return the newest folder with a study of this spec below a folder, or None."""
    wanted = json.loads(json.dumps(spec))
    found = sorted(folders.glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in found:
        try:
            if read_json(file) == wanted:
                return file.parent
        except (OSError, ValueError):
            continue
    return None


def check_folder(folder: Path, record: Study) -> None:
    """Refuse a folder with another study than the one in a database, whose trials would have the same numbers.

    Raises:
        UserError: the folder has another study.
    """
    if (folder / FILE).exists() and read_json(folder / FILE).get(IDENTITY) != record.user_attrs[IDENTITY]:
        raise UserError(f"{folder}: contains another study: choose another search.name= or hydra.sweep.dir=")
