"""Checkpoints: all that is needed to use a learner, in one file without code."""

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

from metalearn.errors import UserError

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write atomically: the file is either the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.chmod(temporary, 0o644)
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path, device: str = "cpu") -> dict[str, Any]:
    """The content of a checkpoint. Only tensors and plain values are read; code in the file is never run."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged, or not a checkpoint of metalearn") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of metalearn, or of another version")
    return content
