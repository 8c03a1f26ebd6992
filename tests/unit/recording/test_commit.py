"""The commit that a result names."""

import subprocess

from metalearn.recording.commit import git_commit


def test_only_code_that_is_not_committed_is_a_change(tmp_path):
    package = tmp_path / "metalearn"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "conf").mkdir()
    (tmp_path / "notes.txt").write_text("a result")

    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    assert git_commit(package) is None  # outside a repository
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = git_commit(package)
    assert clean is not None and len(clean) == 40
    (tmp_path / "notes.txt").write_text("another result")
    assert git_commit(package) == clean
    for file in (package / "mine.py", tmp_path / "conf" / "mine.yaml"):
        file.write_text("# a file of the user's own")
        assert git_commit(package) == clean + "+changes"
        file.unlink()
    (package / "__init__.py").write_text("# changed")
    assert git_commit(package) == clean + "+changes"


def test_a_package_that_its_repository_does_not_track_has_no_commit(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    package = tmp_path / "site-packages" / "metalearn"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert git_commit(package) is None
