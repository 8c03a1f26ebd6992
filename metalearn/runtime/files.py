"""Atomic writing of files, and reading of JSON files with a limit on their size."""

import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from metalearn.runtime.errors import UserError


def as_path(value: Any, name: str) -> Path:
    """Return the path that an argument from Python gives.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UserError(f"{name}={value!r}: give the path of a file or a folder")
    return Path(value)


def read_json(path: Path, most: int = 2**26) -> Any:
    """Read a JSON file that is not trusted.

    Args:
        path: a regular file.
        most: maximum size in bytes.

    Raises:
        OSError: the file is missing or cannot be read.
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
    """Replace the content of a file, or leave the file unchanged if writing fails.

    Args:
        path: the file.
        data: its new content.
        before: path under which the replaced file is kept.

    Raises:
        OSError: the disk is full, or the folder is missing or not writable.
    """
    with writing(path, before) as file:
        file.write(data)


@contextmanager
def writing(path: Path, before: Path | None = None) -> Iterator[BinaryIO]:
    """Context manager to write a file piece by piece; the file appears at `path` only when it is complete.

    Its permissions obey the umask. Temporary files of killed processes are removed after an hour.

    Args:
        path: the file.
        before: path under which the replaced file is kept.

    Yields:
        The open binary file.

    Raises:
        OSError: as in write_atomically.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None and path.exists():
            _keep(path, before)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _keep(path: Path, before: Path) -> None:
    """Keep the old file under the name `before`, as a hard link or a copy."""
    link = path.with_name(f".{before.name}.link")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        shutil.copyfile(path, link)
    os.replace(link, before)
