"""Facts of one machine of a cluster: looked at from a process there, and compared with those of this one."""

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.runtime.errors import UserError


def sees(path: str, text: str) -> bool:
    """Read a file of another machine, and write an answer beside it.

    Args:
        path: of the file.
        text: its content.
    """
    try:
        if Path(path).read_text() != text:
            return False
        answer(Path(path)).write_text(text)
        return True
    except OSError:
        return False


def answer(path: Path) -> Path:
    """Return the file that `sees` writes."""
    return path.with_name(f"{path.name}.answer")


def not_seen(found: bool, path: Path) -> str | None:
    """Return what is wrong with a folder that another machine should see, after `sees`."""
    if found and answer(path).exists():
        return None
    return f"does not see search.storage_path={path.parent}, or cannot write there; it needs a shared file system"


def versions() -> dict[str, str]:
    """Return the versions of what a training depends on, with a digest of this package's source."""
    import numpy
    import torch

    import metalearn

    package = Path(metalearn.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "metalearn": metalearn.__version__,
        "the source of metalearn": digest.hexdigest()[:12],
    }


def other_version(found: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """Return which version differs."""
    for name, version in here.items():
        if found.get(name) != version:
            return f"has another version of {name}: {found.get(name)}, here {version}"
    return None


def data(config: Mapping[str, Any], folder: str) -> str:
    """Return the name and the digest of a run's data, or why the run cannot be prepared.

    Args:
        config: of the run.
        folder: the working folder of the process that searches.
    """
    from metalearn.lifecycle.setup import prepare

    if os.path.isdir(folder):
        os.chdir(folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        dataset = prepare(config).dataset
    except UserError as error:
        return f"{error}"
    return f"{dataset.name}, {dataset.fingerprint[:16]}"


def other_data(found: str, here: str) -> str | None:
    """Return how the data differ."""
    return None if found == here else f"has other data ({found}) than this one ({here})"
