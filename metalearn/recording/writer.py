"""Writes that may fail without stopping a training."""

from collections.abc import Callable
from pathlib import Path

from metalearn.runtime.console import warn


class RetryingWriter:
    """Write files, and try again later to write those that failed.

    A full disk does not stop the training. One warning reports it, and another one that all files are written.
    """

    def __init__(self) -> None:
        self.failing: dict[Path, Callable[[], None]] = {}  # how to write each file that could not be written

    def write(self, path: Path, write: Callable[[], None], again: Callable[[], None] | None = None) -> bool:
        """Write a file; return True if that succeeds.

        Args:
            path: the file.
            write: writes it.
            again: writes it when `write` has failed; by default the same as `write`.
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
