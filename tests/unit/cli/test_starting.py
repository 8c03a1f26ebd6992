"""The start of a run: its first line, and a signal before anything is recorded."""

import signal
import sys

import pytest

from metalearn.cli import starting


@pytest.mark.parametrize("imported", [True, False])
def test_a_start_that_takes_seconds_is_said(imported, monkeypatch, capfd):
    if not imported:
        monkeypatch.delitem(sys.modules, "torch")
    starting.announce()
    assert capfd.readouterr().out == ("" if imported else "metalearn: starting ...\n")


@pytest.mark.parametrize(
    ("there", "file", "sent", "kept"),
    [
        (False, None, signal.SIGTERM, False),
        (False, None, signal.SIGINT, False),
        (False, "config.json", signal.SIGTERM, True),
        (True, None, signal.SIGTERM, True),  # the user's own
    ],
)
def test_a_signal_at_the_start_leaves_no_empty_folder(there, file, sent, kept, tmp_path, monkeypatch):
    folder, killed = tmp_path / "run", []
    if there:
        folder.mkdir()
    monkeypatch.setattr("os.kill", lambda process, number: killed.append(number))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with starting.empty_folder_removed():
            starting.note_folder(str(folder))
            folder.mkdir(exist_ok=True)  # by Hydra
            if file:
                (folder / file).touch()
            signal.raise_signal(sent)
    except KeyboardInterrupt:
        killed.append(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert killed == [sent] and folder.exists() == kept


@pytest.mark.parametrize("importing", [True, False])
def test_an_interruption_in_the_import_of_torch_ends_at_once(importing, monkeypatch, capfd):
    """A KeyboardInterrupt there would abort the process: terminate called after throwing error_already_set."""
    monkeypatch.setattr(sys.modules["torch"].__spec__, "_initializing", importing, raising=False)
    monkeypatch.setattr("os._exit", sys.exit)
    with pytest.raises(SystemExit if importing else KeyboardInterrupt), starting.interruptible("interrupted; ..."):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert capfd.readouterr().err == ("metalearn: interrupted; ...\n" if importing else "")
