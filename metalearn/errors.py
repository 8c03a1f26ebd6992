"""Expected errors, such as wrong input and stopped runs. Each is shown as one line, without a traceback."""

from pathlib import Path

_OF_PARALLEL_METALEARN = ("file_manager", "model_wrappers", "nn_models")  # its folders, none of them ours


def refuse_foreign_files(package: Path = Path(__file__).parent) -> None:
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
