"""The wheel: complete, and usable from any folder."""

import subprocess
import sys
import venv

import pytest

from tests.helpers.configs import QUICK, ROOT


@pytest.mark.slow
def test_an_installed_wheel_runs_from_another_folder(tmp_path):
    """Builds the wheel and runs it in an environment that sees this one's packages, but not the clone."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    other = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-m", "metalearn.run", *QUICK, "hydra.run.dir=out"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{site}:{other}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists() and '"git_commit": null' in (
        tmp_path / "out" / "result.json"
    ).read_text()
