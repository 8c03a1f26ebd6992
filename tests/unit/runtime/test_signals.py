"""Signals that stop a run, those of submitit included, and the file by which another process stops it."""

import os
import signal

import pytest

from metalearn.runtime.signals import STOP, Signals, Stopped


@pytest.fixture
def submitit(monkeypatch):
    """As in a job of submitit, whose handlers note the signals; returns these notes."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    noted = []
    before = {
        number: signal.signal(number, lambda number, frame: noted.append(number))
        for number in (signal.SIGUSR2, signal.SIGTERM)
    }
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("sent", "status", "handled"),
    [
        ([signal.SIGUSR2], 140, []),
        ([signal.SIGTERM], 143, []),  # submitit ignores it
        ([signal.SIGTERM, signal.SIGUSR2], 140, []),  # a preemption comes before any other stop
        ([signal.SIGUSR2, signal.SIGTERM], 140, [signal.SIGUSR2]),  # no time to save: submitit starts the job again
    ],
)
def test_a_preemption_is_a_stop_that_submitit_handles_after_it(sent, status, handled, submitit, capfd):
    with Signals() as signals:
        send(*sent)
        with pytest.raises(Stopped) as stopped:
            signals.check()
    assert stopped.value.status == status and submitit == handled
    assert ("preempted; finishing the meta-step" in capfd.readouterr().err) == (signal.SIGUSR2 in sent)
    signal.raise_signal(signal.SIGUSR2)
    assert submitit == [*handled, signal.SIGUSR2]


def test_the_signal_of_a_preemption_is_the_one_that_submitit_uses(submitit, monkeypatch):
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "TERM")
    with Signals() as signals:
        send(signal.SIGTERM, signal.SIGTERM)
    assert signals.asked and submitit == [signal.SIGTERM]


def test_a_signal_in_one_process_stops_the_runs_of_others(tmp_path, monkeypatch, capfd):
    with Signals(forward=tmp_path / "stop"):
        monkeypatch.setenv(STOP, str(tmp_path / "stop"))
        run = Signals()
        run.check()
        send(signal.SIGTERM)  # SIGINT may be ignored where the tests run in the background
        with pytest.raises(Stopped, match="SIGTERM") as stopped:
            run.check()
    assert stopped.value.status == 143
    (tmp_path / "stop").write_text("")  # not yet written
    with pytest.raises(Stopped, match="SIGTERM"):
        Signals().check()
