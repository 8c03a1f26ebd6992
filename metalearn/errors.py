"""The exceptions that mean: no defect of the program. Each is shown as one line."""

from pathlib import Path

_OF_PARALLEL_METALEARN = ("file_manager", "model_wrappers", "nn_models")  # its folders, none of them ours


def refuse_foreign_files(package: Path = Path(__file__).parent) -> None:
    """Raise ImportError where the distribution parallel-metalearn, of the same import name, lies in this package.

    Each of the two overwrites files of the other, so that neither works.
    """
    if found := [name for name in _OF_PARALLEL_METALEARN if (package / name).is_dir()]:
        raise ImportError(f"{package} holds files of the distribution parallel-metalearn ({found[0]}/), which has the "
                          "same import name: pip uninstall parallel-metalearn metalearn-torch, then install "
                          "metalearn-torch again, in an environment without the other")  # fmt: skip


class UserError(Exception):
    """A mistake in what was asked for; exit status 2."""


class NotFound(UserError):
    """A data set that is neither here nor to be downloaded."""


class Unfinished(Exception):
    """A run that was stopped from outside and can be resumed; the message says how.

    Args:
        message: one line.
        status: the exit status: 128 + the signal's number, or 1 where the machine failed (a full disk).
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
