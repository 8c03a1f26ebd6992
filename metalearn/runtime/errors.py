"""Expected errors, such as wrong input and stopped runs, and the description of any error in one line."""

import sysconfig
import traceback
from pathlib import Path

_LIBRARIES = tuple(str(Path(path).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
                   if (path := sysconfig.get_path(name)))  # fmt: skip
_PACKAGE = str(Path(__file__).resolve().parent.parent)
_MOST = 300  # characters of a message

_OF_PARALLEL_METALEARN = ("file_manager", "model_wrappers", "nn_models")  # its folders, none of them ours


def refuse_foreign_files(package: Path = Path(__file__).parent.parent) -> None:
    """Raise ImportError where the distribution parallel-metalearn, of the same import name, lies in this package.

    Each of the two overwrites files of the other, so that neither works.
    """
    if found := [name for name in _OF_PARALLEL_METALEARN if (package / name).is_dir()]:
        raise ImportError(
            f"{package} holds files of the distribution parallel-metalearn ({found[0]}/), which has the "
            "same import name: pip uninstall parallel-metalearn metalearn-torch, then install "
            "metalearn-torch again, in an environment without the other"
        )


class UserError(Exception):
    """A mistake in the settings, the data or the files that the user named; exit status 2."""


class NotFound(UserError):
    """A data set that is not found and cannot be downloaded."""


class RunExists(UserError):
    """A folder that already contains a run, where a new one was to start.

    Attributes:
        folder: of the run.
        obstacle: why that run cannot be resumed; None if it can.
    """

    def __init__(self, folder: Path, obstacle: str | None):
        super().__init__(f"{folder}: already contains a run: {obstacle or 'resume it'}, or choose another folder")
        self.folder, self.obstacle = folder, obstacle


class Unfinished(Exception):
    """A run that was stopped early and can be resumed.

    Attributes:
        reason: why it stopped.
        step: the meta-step of its last checkpoint.
        folder: of the run.
        status: the exit status: 128 + the number of a signal, or 1 after a failure of the machine or of user code.
    """

    def __init__(self, reason: str, step: int, folder: Path, status: int):
        super().__init__(f"{reason} at meta-step {step}; resume it with resume={folder}")
        self.reason, self.step, self.folder, self.status = reason, step, folder, status


def place_in_own_code(error: BaseException) -> str | None:
    """Find the innermost line of the user's code that an error passed, as `file:line`.

    Returns:
        None where the error passed only metalearn, installed packages and Python itself.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_near(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not is_library(frame.filename)]
    return f"{_near(own[-1].filename)}:{own[-1].lineno}" if own else None


def described(error: BaseException) -> str:
    """Describe any error in one line: its type, its message, and the line of the user's code, else of metalearn's."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    text = f": {text[:_MOST]}" if text else ""
    place = place_in_own_code(error)
    if place is None:
        frames = traceback.extract_tb(error.__traceback__)
        here = [frame for frame in frames if frame.filename.startswith(_PACKAGE)] or frames
        place = f"{here[-1].filename}:{here[-1].lineno}" if here else "no place known"
    return f"{type(error).__name__}{text} ({place})"


def is_library(file: str) -> bool:
    """True for a source file of Python, of an installed package, or of metalearn."""
    path = str(Path(file).resolve())
    return file.startswith("<") or path.startswith((*_LIBRARIES, _PACKAGE))


def _near(file: str) -> str:
    """Shorten a path: relative to the working directory, if it lies below it."""
    path, here = Path(file).resolve(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
