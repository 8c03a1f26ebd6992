"""Checkpoints: one file without code, checked by its digest when read."""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metalearn.errors import UserError

FORMAT = 2


class Damaged(UserError):
    """A file that is no checkpoint, or no longer one."""


def pack(content: dict[str, Any]) -> bytes:
    """A checkpoint as it lies in its file, with the digest of its content."""
    content = {"format": FORMAT, **content}
    buffer = io.BytesIO()
    torch.save({**content, "digest": digest(content)}, buffer)
    return buffer.getvalue()


def read(path: Path, device: str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint. Only tensors and plain values are read; code in the file is never run.

    Raises:
        UserError: no such file, or it cannot be read at this moment.
        Damaged: not a checkpoint, or one whose digest is not that of its content.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError, TypeError, IndexError,
            AttributeError, UnicodeDecodeError, AssertionError, OverflowError) as error:  # fmt: skip
        raise Damaged(f"{path}: damaged, or not a checkpoint of metalearn") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Damaged(f"{path}: not a checkpoint of metalearn, or of another version")
    if content.pop("digest", None) != digest(content):
        raise Damaged(f"{path}: damaged: its content does not have the digest it was written with")
    moved: dict[str, Any] = _to(content, device)
    return moved


def digest(content: Any) -> str:
    """SHA-256 over tensors and plain values, whatever container they lie in."""
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
    """Every tensor on the device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to(entry, device) for key, entry in value.items()}
    return [_to(entry, device) for entry in value] if isinstance(value, list) else value
