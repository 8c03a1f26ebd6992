"""Workers of one study in a real PostgreSQL: one is killed, one is suspended, the server is restarted.

The workers are processes of their own. What they train is a toy, and each begin and end is a line in a common file.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from metalearn.search.database import Database
from metalearn.search.patient_storage import GRACE
from metalearn.search.records import LOST, counted, latest, number
from tests.helpers.configs import ROOT
from tests.helpers.postgres import Server

pytestmark = [pytest.mark.slow, pytest.mark.integration]

HEARTBEAT = 2  # seconds; a machine with other work starves a process for some
WAITING, BACK = "waiting for the database (", "the database is back after "


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


class Team:
    """Workers of a study."""

    def __init__(self, server: Server, folder, name: str, trials: int, seconds: float):
        self.log, self._folder = folder / "log.txt", folder
        self.log.touch()
        self.order = {
            "url": server.url,
            "name": name,
            "trials": trials,
            "seconds": seconds,
            "heartbeat": HEARTBEAT,
            "log": str(self.log),
        }
        self.workers = []

    def start(self, count: int) -> None:
        # Workers of one study may live in different time zones
        zones = ["UTC", "America/New_York", "Asia/Tokyo", "Europe/Berlin"]
        for i in range(count):
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "200",
                "TZ": zones[i % 4],
                "PGTZ": zones[i % 4],
            }
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.helpers.search_worker", json.dumps(self.order)],
                    cwd=ROOT,
                    env=environment,
                    stdout=open(self._folder / f"out{len(self.workers)}.txt", "w"),
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                )
            )

    def lines(self, word: str) -> list[tuple[int, ...]]:
        """Return the numbers in the lines that begin with a word: the trial and the process."""
        found = [line.split() for line in self.log.read_text().splitlines()]
        return [tuple(map(int, rest)) for first, *rest in found if first == word]

    def running(self) -> dict[int, int]:
        """Return the trials that are being trained, by process."""
        ended = set(self.lines("end"))
        return {pid: trial for trial, pid in self.lines("begin") if (trial, pid) not in ended}

    def wait(self, condition, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline and "Traceback" not in self.said(), self.log.read_text() + self.said()
            time.sleep(0.02)

    def wait_for_the_end(self) -> list[int]:
        self.wait(lambda: all(worker.poll() is not None for worker in self.workers))
        return [worker.returncode for worker in self.workers]

    def output(self, index: int) -> str:
        return (self._folder / f"out{index}.txt").read_text()

    def said(self) -> str:
        return "\n".join(self.output(i) for i in range(len(self.workers)))

    def records(self) -> list[optuna.trial.FrozenTrial]:
        database = Database(self.order["url"], self.order["name"], HEARTBEAT)
        return optuna.load_study(study_name=self.order["name"], storage=database.storage).get_trials()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()


@pytest.fixture
def team(server, tmp_path, request):
    made = []

    def make(trials: int, seconds: float = 0.5) -> Team:
        made.append(Team(server, tmp_path, request.node.name, trials, seconds))
        return made[0]

    yield make
    for one in made:
        one.close()


def check_complete(team: Team, trials: int, retried: int) -> None:
    """No trial is lost, none counted twice, none begun beyond the total."""
    records = team.records()
    assert len(counted(records)) == trials
    assert {trial.state for trial in latest(records).values()} == {TrialState.COMPLETE}
    assert not [trial for trial in records if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert sorted(map(number, latest(records).values())) == list(range(trials))
    assert sum(trial.state == TrialState.COMPLETE for trial in records) == trials
    ended = Counter(trial for trial, _ in team.lines("end"))
    begun = Counter(trial for trial, _ in team.lines("begin"))
    assert set(begun) == set(range(trials))
    assert sum(begun.values()) == trials + retried
    assert set(ended) == set(range(trials))


def test_a_killed_worker_and_a_restarted_server_lose_no_trial(server, team):
    team = team(trials=40)
    team.start(4)
    team.wait(lambda: len(team.lines("end")) >= 4)
    victim = team.workers[1]
    team.wait(lambda: victim.pid in team.running())
    victim.send_signal(signal.SIGKILL)
    lost = team.running()[victim.pid]
    team.wait(lambda: len(team.lines("end")) >= 10)
    server.stop()
    team.wait(lambda: all(WAITING in team.output(i) for i in (0, 2, 3)))
    time.sleep((GRACE + 1) * HEARTBEAT)  # now every heartbeat is old
    server.start()
    assert team.wait_for_the_end() == [0, -signal.SIGKILL, 0, 0]
    check_complete(team, 40, retried=1)
    assert Counter(trial for trial, _ in team.lines("begin"))[lost] == 2
    assert [pid for trial, pid in team.lines("end") if trial == lost] != [victim.pid]
    retried = [trial for trial in latest(team.records()).values() if LOST in trial.user_attrs]
    assert [number(trial) for trial in retried] == [lost]
    for i in (0, 2, 3):
        assert team.output(i).count(WAITING) == team.output(i).count(BACK) == 1, team.output(i)
        assert "Traceback" not in team.output(i)


def test_a_worker_that_was_silent_drops_its_trial(team):
    team = team(trials=8)
    team.start(2)
    sleeper = team.workers[0]
    team.wait(lambda: sleeper.pid in team.running())
    sleeper.send_signal(signal.SIGSTOP)
    lost = team.running()[sleeper.pid]
    team.wait(lambda: (lost, team.workers[1].pid) in team.lines("end"))
    sleeper.send_signal(signal.SIGCONT)
    assert team.wait_for_the_end() == [0, 0]
    check_complete(team, 8, retried=1)
    assert f"trial {lost}: given to another worker, since this one was silent; dropped" in team.output(0)


def test_a_signal_ends_a_worker_that_waits_for_the_server(server, team):
    team = team(trials=40)
    team.start(1)
    team.wait(lambda: team.lines("end"))
    server.stop()
    try:
        team.wait(lambda: WAITING in team.output(0))
        team.workers[0].send_signal(signal.SIGTERM)
        assert team.wait_for_the_end() == [128 + signal.SIGTERM], team.said()
    finally:
        server.start()


def test_a_stopped_worker_leaves_its_trial_to_another(team):
    team = team(trials=3, seconds=2)
    team.start(1)
    team.wait(team.running)
    team.workers[0].send_signal(signal.SIGTERM)
    assert team.wait_for_the_end() == [128 + signal.SIGTERM], team.said()
    (record,) = team.records()
    assert record.state == TrialState.WAITING
    team.start(1)
    assert team.wait_for_the_end() == [128 + signal.SIGTERM, 0]
    check_complete(team, 3, retried=1)


def test_a_trial_that_kills_its_workers_is_given_up(team):
    team = team(trials=1, seconds=60)
    for _ in range(3):
        team.start(1)
        begun = len(team.lines("begin"))
        team.wait(lambda: len(team.lines("begin")) > begun)  # noqa: B023
        team.workers[-1].kill()
        team.workers[-1].wait()
    team.order["seconds"] = 0.1
    team.start(1)
    team.wait_for_the_end()
    records = team.records()
    assert sorted(number(trial) for trial in records) == [0, 0, 0, 1]  # failed ones do not count
    assert [trial.state for trial in latest(records).values()] == [TrialState.FAIL, TrialState.COMPLETE]
