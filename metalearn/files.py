"""Files that are written whole or not at all, and JSON files that are read with a limit on their size."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def read_json(path: Path, most: int = 2**26) -> Any:
    """Read a JSON file, which may come from a stranger.

    Args:
        path: a regular file.
        most: the largest size in bytes.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: not JSON, not a regular file, larger than `most`, or nested too deeply.
    """
    size = path.stat().st_size
    if not path.is_file() or size > most:
        raise ValueError(f"{path}: not a regular file of at most {most} bytes")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error


def write_atomically(path: Path, data: bytes, before: Path | None = None) -> None:
    """Fill a temporary file, and put it in the place of `path` once it lies on the disk whole.

    Args:
        before: under which name the file that it replaces is kept.

    Raises:
        OSError: the disk is full, the folder is gone or may not be written; the file is then the old one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.chmod(temporary, 0o644)  # others who share the folder read it as well
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            _keep(path, before)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep(path: Path, before: Path) -> None:
    """Let `before` be the same file as `path`, for a moment."""
    link = path.with_name(f".{before.name}.link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        shutil.copyfile(path, link)
    os.replace(link, before)
