"""Packed arrays kept beside the data, or in the user's cache folder where the data are read-only."""

import hashlib
import io
import os
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np

from metalearn.files import write_atomically


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metalearn"


def _writable(folder: Path) -> bool:
    # A folder marked read-only is left alone even by root, whom the system would let write
    marked = folder.is_dir() and bool(folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return marked and os.access(folder, os.W_OK)


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + str(arrays[name].dtype).encode() + str(arrays[name].shape).encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def read_cache(name: str, beside: Path) -> dict[str, np.ndarray] | None:
    """The arrays of cache file `name`, or None where there is none or its checksum shows damage."""
    for folder in (beside, _user_cache()):
        try:
            with np.load(folder / name, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            if str(arrays.pop("checksum")) == _checksum(arrays):
                return arrays
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):
            continue
    return None


def write_cache(name: str, beside: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays atomically; without a place to write they are simply packed again next time."""
    folder = beside if _writable(beside) else _user_cache()
    packed = io.BytesIO()
    np.savez(packed, **{"checksum": np.array(_checksum(arrays)), **arrays})  # type: ignore[arg-type]
    try:
        write_atomically(folder / name, packed.getvalue())
    except OSError as error:
        from metalearn.console import warn

        warn(f"no cache written in {folder} ({error.strerror}): the images are packed again at the next start")
