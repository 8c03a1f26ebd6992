"""The commit of the code that gives a result."""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def git_commit(package: Path = PACKAGE) -> str | None:
    """Return the commit of this package's source; None outside its repository.

    "+changes" follows where a file of the package, of conf/ or pyproject.toml differs or is not tracked. Other files,
    such as committed results, change no result.

    Args:
        package: the folder `metalearn`.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # installed into another repository, it is not tracked
        ours = [package, package.parent / "conf", package.parent / "pyproject.toml"]
        changed = git("status", "--porcelain", "--", *(str(path) for path in ours if path.exists()))
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
