"""The result of a run is safe before its pictures are drawn."""

import json
import signal

import pytest

from metalearn.lifecycle import final_test
from metalearn.lifecycle.launch import train
from metalearn.runtime.signals import Stopped
from tests.helpers.configs import SINUSOID, config
from tests.helpers.resuming import Crash


def ends_by(monkeypatch, error):
    """Let the drawing of the second picture raise this error."""

    def pictures(session, *given):
        yield "curves", session.folder / "curves.png"
        raise error

    monkeypatch.setattr(final_test, "pictures", pictures)


def test_a_run_killed_among_its_pictures_has_its_result(tmp_path, monkeypatch, capfd):
    ends_by(monkeypatch, Crash())
    with pytest.raises(Crash):
        train(config(*SINUSOID), tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    assert json.loads(before)["test_tasks"] == 10
    train(config(*SINUSOID, "resume=auto"), tmp_path / "run")
    assert "this run is complete" in capfd.readouterr().out
    assert (tmp_path / "run" / "result.json").read_bytes() == before


@pytest.mark.parametrize(("error", "why"), [
    (OSError(28, "No space left on device", "tasks.png"), "No space left on device"),
    (Stopped(signal.SIGTERM), "stopped by SIGTERM"),
])  # fmt: skip
def test_a_full_disk_or_a_signal_among_the_pictures_leaves_a_complete_run(error, why, tmp_path, monkeypatch, capfd):
    ends_by(monkeypatch, error)
    run = train(config(*SINUSOID), tmp_path / "run")
    assert (run.folder / "result.json").exists()
    assert f"not all pictures are drawn ({why}): python -m metalearn.plot {run.folder}" in capfd.readouterr().out
