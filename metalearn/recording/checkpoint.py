"""Checkpoints: files of tensors and plain values without code, each with a digest that is checked when read."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metalearn.recording.bounds import check_archive, check_content
from metalearn.runtime.errors import UserError

FORMAT = 4
LAST, BEFORE, BEST = "last.pt", "previous.pt", "best.pt"  # the file names in a run's folder `checkpoints/`
# Exceptions that a damaged file raises while it is read
_BROKEN = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError, TypeError, IndexError,
           AttributeError, AssertionError, OverflowError, MemoryError, NotImplementedError,
           zipfile.BadZipFile)  # fmt: skip


class Damaged(UserError):
    """A file that is not a checkpoint, or a damaged one."""


def pack(content: dict[str, Any]) -> bytes:
    """Serialize a checkpoint, with the digest of its content."""
    content = {"format": FORMAT, **content}
    buffer = io.BytesIO()
    torch.save({**content, "digest": digest(content)}, buffer)
    return buffer.getvalue()


def find(path: Path) -> Path:
    """Find the checkpoint of a trained learner.

    Args:
        path: a checkpoint, or a run's folder. In a folder, the best learner is found; the last one if the run has no
            validation score yet.

    Raises:
        UserError: no such run, the folder is not a run's, or it has no checkpoint yet.
    """
    if not path.exists() and not path.suffix == ".pt":
        raise UserError(f"no such run: {path}")
    if not path.is_dir():
        return path
    for name in (BEST, LAST):
        if (file := path / "checkpoints" / name).exists():
            return file
    below = [file.parent for pattern in ("*", "*/*") for file in path.glob(f"{pattern}/checkpoints")]
    if runs := sorted((run.relative_to(path).as_posix() for run in below), key=lambda name: (len(name), name)):
        shown = ", ".join(runs[:10]) + (f" and {len(runs) - 10} more" if len(runs) > 10 else "")
        raise UserError(f"{path}: holds {len(runs)} runs; choose one of its folders: {shown}")
    raise UserError(f"{path}: no checkpoint there (checkpoints/best.pt or last.pt)")


def read(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint. No code in it is run, and its content takes no more memory than its file allows.

    Args:
        path: of the file.
        device: of the tensors.

    Raises:
        UserError: the file is missing or cannot be read.
        Damaged: not a checkpoint, or its content does not match its digest.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    try:
        check_archive(data)
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        check_content(content, len(data))
    except _BROKEN as error:
        raise Damaged(f"{path}: damaged, or not a checkpoint of metalearn") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Damaged(f"{path}: not a checkpoint of metalearn, or of another version")
    if content.pop("digest", None) != digest(content):
        raise Damaged(f"{path}: damaged: its content does not have the digest it was written with")
    if not _sound(content):
        raise Damaged(f"{path}: damaged: not the parts of a checkpoint")
    moved: dict[str, Any] = _to(content, device)
    return moved


def _sound(content: Mapping[str, Any]) -> bool:
    """True if all parts of a checkpoint are present and have the right types."""
    params = content.get("params")
    if not isinstance(content.get("spec"), dict) or not isinstance(content.get("step"), int):
        return False
    if not isinstance(params, dict) or params.keys() != {"model", "extra", "statistics"}:
        return False
    if not all(isinstance(entries, dict) for entries in params.values()):
        return False
    if not all(isinstance(value, Tensor) for entries in params.values() for value in entries.values()):
        return False
    return isinstance(content.get("state", {}), dict)


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turn errors inside the context, while a run's state is restored from a checkpoint, into Damaged.

    Raises:
        Damaged: an entry is missing, or has a wrong type or shape.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise Damaged(f"{path}: damaged, or of another run: {' '.join(str(error).split())[:200]}") from error


def digest(content: Any) -> str:
    """SHA-256 (hex) of tensors and plain values in nested containers."""
    state = hashlib.sha256()
    _feed(state.update, content)
    return state.hexdigest()


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, Tensor):
        update(f"T{value.dtype}{tuple(value.shape)}".encode())
        update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        update(f"D{len(value)}".encode())
        for key, entry in value.items():
            _feed(update, key)
            _feed(update, entry)
    elif isinstance(value, (list, tuple)):
        update(f"L{len(value)}".encode())
        for entry in value:
            _feed(update, entry)
    else:
        update(f"{type(value).__name__}{value!r};".encode())


def _to(value: Any, device: str) -> Any:
    """Move every tensor in nested containers to the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to(entry, device) for key, entry in value.items()}
    return [_to(entry, device) for entry in value] if isinstance(value, list) else value
