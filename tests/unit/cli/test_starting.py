"""The start of a run: its first line, and a signal before anything is recorded."""

import signal
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from metalearn.cli import starting


@pytest.mark.parametrize("imported", [True, False])
def test_a_start_that_takes_seconds_is_said(imported, monkeypatch, capfd):
    if not imported:
        monkeypatch.delitem(sys.modules, "torch")
    starting.announce()
    assert capfd.readouterr().out == ("" if imported else "metalearn: starting ...\n")


@pytest.mark.parametrize(
    ("there", "file", "mode", "sent", "kept"),
    [
        (False, None, RunMode.RUN, signal.SIGTERM, False),
        (False, None, RunMode.RUN, signal.SIGINT, False),
        (False, "config.json", RunMode.RUN, signal.SIGTERM, True),
        (True, None, RunMode.RUN, signal.SIGTERM, True),  # the user's own
        (False, None, RunMode.MULTIRUN, signal.SIGINT, True),  # the sweep resumes it
    ],
)
def test_a_signal_at_the_start_leaves_no_empty_folder(there, file, mode, sent, kept, tmp_path, monkeypatch):
    folder, killed = tmp_path / "run", []
    if there:
        folder.mkdir()
    starting.note_folder(str(folder))
    folder.mkdir(exist_ok=True)  # by Hydra
    if file:
        (folder / file).touch()
    monkeypatch.setattr("os.kill", lambda process, number: killed.append(number))
    settings = {"mode": mode, "runtime": {"output_dir": str(folder)}}
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": settings})
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with starting.empty_folder_removed():
            signal.raise_signal(sent)
    except KeyboardInterrupt:
        killed.append(signal.SIGINT)
    finally:
        HydraConfig.instance().cfg = None
        signal.signal(signal.SIGTERM, before)
    assert killed == [sent] and folder.exists() == kept
