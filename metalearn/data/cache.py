"""Cache of packed images, next to the data or, if their folder is read-only, in the user's cache folder.

A cache is two files. NAME.bin holds the pixels as in memory. NAME.json holds their shape, their SHA-256, facts about
them, and the size and time of NAME.bin. The pixels are hashed when they are written. Reading compares size and time,
and hashes the pixels again only if those differ. Pixels that need more than a quarter of the memory are memory-mapped.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.runtime import memory
from metalearn.runtime.errors import UserError
from metalearn.runtime.files import read_json, write_atomically, writing

Blocks = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Packed:
    """Packed images of a data set: their pixels, and facts such as class names and counts."""

    pixels: np.ndarray  # uint8 [M, ...]; a read-only np.memmap if it is large
    digest: str  # SHA-256 (hex) of the pixels
    facts: dict[str, Any]  # JSON values


def read_cache(name: str, beside: Path) -> Packed | None:
    """Open the cache `name` in the folder `beside` or the user's cache folder. None if it is missing or damaged."""
    for folder in (beside, _user_cache()):
        pixels, entry = folder / f"{name}.bin", folder / f"{name}.json"
        try:
            stored = read_json(entry)
            if stored["checksum"] != _checksum(stored) or pixels.stat().st_size != math.prod(stored["shape"]):
                continue
            opened = _open(pixels, stored["shape"])
            if [*_stamp(pixels)] != stored["stamp"]:
                if _sha256(opened) != stored["digest"]:
                    continue
                _write_entry(entry, stored, pixels)
            return Packed(opened, stored["digest"], stored["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def write_cache(name: str, beside: Path, blocks: Blocks, facts: Callable[[], dict[str, Any]], size: int) -> Packed:
    """Write images block by block, so that they are never all in memory, and open them.

    If no folder is writable, they are packed into a temporary file, and again at the next start.

    Args:
        name: of the cache.
        beside: folder of the cache, unless it is read-only.
        blocks: returns an iterator over arrays uint8 [m, ...], whose shapes differ only in m.
        facts: returns facts about the images as JSON values; called after the last block.
        size: upper limit of the size in bytes.

    Raises:
        UserError: no folder has enough space.
    """
    from metalearn.runtime.console import warn

    folder = beside if _writable(beside) else _user_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_room(folder, size)
        pixels = folder / f"{name}.bin"
        with writing(pixels) as file:
            digest, shape = _fill(file, blocks())
        stored: dict[str, Any] = {"shape": shape, "digest": digest, "facts": facts()}
        _write_entry(folder / f"{name}.json", stored, pixels)
        return Packed(_open(pixels, shape), digest, stored["facts"])
    except OSError as error:
        warn(f"no cache written in {folder} ({error.strerror}): the images will be packed again at the next start")
    temporary = Path(tempfile.gettempdir())
    try:
        _require_room(temporary, size)
        with tempfile.NamedTemporaryFile() as unnamed:  # the name disappears, the mapping remains
            digest, shape = _fill(unnamed.file, blocks())
            unnamed.flush()
            return Packed(_open(Path(unnamed.name), shape), digest, facts())
    except OSError as error:
        raise UserError(f"{temporary}: {error.strerror}: cannot pack the images") from error


def _fill(file: Any, blocks: Iterator[np.ndarray]) -> tuple[str, list[int]]:
    """Write the blocks; return the digest and the shape of the whole array."""
    digest, count, rest = hashlib.sha256(), 0, [0]
    for block in blocks:
        data = np.ascontiguousarray(block, np.uint8)
        digest.update(data.data)
        file.write(data.data)
        count, rest = count + len(data), list(data.shape[1:])
    return digest.hexdigest(), [count, *rest]


def _open(path: Path, shape: list[int]) -> np.ndarray:
    if 4 * math.prod(shape) > memory.total():
        return np.memmap(path, np.uint8, "r", shape=tuple(shape))
    return np.fromfile(path, np.uint8).reshape(shape)


def _sha256(pixels: np.ndarray) -> str:
    digest, flat = hashlib.sha256(), pixels.reshape(-1)
    for start in range(0, len(flat), 2**24):
        digest.update(flat[start : start + 2**24].data)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _write_entry(entry: Path, stored: dict[str, Any], pixels: Path) -> None:
    """Write NAME.json with the current size and time of NAME.bin."""
    stored = {**stored, "stamp": list(_stamp(pixels))}
    write_atomically(entry, json.dumps({**stored, "checksum": _checksum(stored)}).encode())


def _checksum(stored: dict[str, Any]) -> str:
    values = {name: value for name, value in stored.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _require_room(folder: Path, size: int) -> None:
    if size > (free := shutil.disk_usage(folder).free):
        needed, left = f"{size / 2**30:,.1f} GB", f"{free / 2**30:,.1f}"
        raise UserError(f"{folder}: packing the images needs {needed}, but only {left} GB are free")


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metalearn"


def _writable(folder: Path) -> bool:
    # Respect a read-only folder even as root, who could write to it
    marked = folder.is_dir() and bool(folder.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    return marked and os.access(folder, os.W_OK)
