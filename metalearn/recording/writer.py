"""Writes that may fail without stopping a training."""

from collections.abc import Callable
from pathlib import Path

from metalearn.runtime.console import warn


class RetryingWriter:
    """Writes files, and repeats at the next occasion what failed.

    A full disk does not stop the training. One warning reports it, and another that everything is
    written at last.
    """

    def __init__(self) -> None:
        self.failing: dict[Path, Callable[[], None]] = {}  # how to write each file that could not be written

    def write(self, path: Path, write: Callable[[], None], again: Callable[[], None] | None = None) -> bool:
        """Write a file; return True if that succeeds.

        Args:
            path: the file.
            write: writes it.
            again: writes it later; by default the same as `write`.
        """
        try:
            write()
        except OSError as error:
            if not self.failing:
                warn(f"{path}: {error.strerror or error}; the training continues, and the file will be written later")
            self.failing[path] = again or write
            return False
        if path in self.failing:
            del self.failing[path]
            if not self.failing:
                warn("the disk can be written again; all files are complete")
        return True

    def retry(self) -> None:
        """Try to write the files that failed."""
        for path, write in list(self.failing.items()):
            self.write(path, write)

    def flush(self) -> None:
        """Write the files that failed.

        Raises:
            OSError: one of them still cannot be written.
        """
        for path, write in list(self.failing.items()):
            write()
            del self.failing[path]
