"""The commit that a result names."""

import shutil
import subprocess

import metalearn.recording.record
from metalearn.recording.record import git_commit


def test_an_algorithm_that_is_not_tracked_is_a_change(tmp_path, monkeypatch):
    package = tmp_path / "metalearn"
    package.mkdir()
    shutil.copy(metalearn.recording.record.__file__, package / "record.py")

    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(metalearn.recording.record, "__file__", str(package / "record.py"))
    clean = git_commit()
    assert clean is not None and len(clean) == 40
    (tmp_path / "notes.txt").write_text("not of the package")
    assert git_commit() == clean
    (package / "mine.py").write_text("# an algorithm of the user's own\n")
    assert git_commit() == clean + "+changes"
