"""The command line of a search started on several machines: folders that share a database and nothing else."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.postgres import Server

pytestmark = [pytest.mark.slow, pytest.mark.integration]

SMALL = ("algo=anil", "data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12", "eval.every=3", "eval.tasks=20",
         "eval.test_tasks=20", "search.confirm=1", "search.confirm_seeds=2", "search.confirm_tasks=20")  # fmt: skip
RATE = "algo.inner_optimizer.lr=tag(log, interval(0.01, 2))"


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


def begin(machine, *words, **variables):
    machine.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **variables}
    return subprocess.Popen([sys.executable, "-m", "metalearn.run", "-m", *words], cwd=machine, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)  # fmt: skip


def finished(process, status=0):
    out, error = process.communicate(timeout=600)
    assert process.returncode == status, out + error
    return out, error


def table(folder):
    with open(folder / "trials.csv") as file:
        return list(csv.DictReader(file))


def test_two_machines_share_a_study(server, tmp_path):
    words = ["search=random", *SMALL, RATE, "search.trials=6", f"search.storage={server.url}", "search.name=rates"]
    machines = [tmp_path / "one", tmp_path / "two"]
    processes = [begin(machine, *words) for machine in machines]
    outputs = [finished(process)[0] for process in processes]
    folders = [machine / "runs" / "rates" for machine in machines]
    assert table(folders[0]) == table(folders[1])
    assert [row["trial"] for row in table(folders[0])] == list("012345")
    assert {row["state"] for row in table(folders[0])} == {"complete"}
    runs = [{path.parent.name for path in folder.glob("[0-9]*/result.json")} for folder in folders]
    assert runs[0] | runs[1] == set("012345") and not runs[0] & runs[1], "each trial is trained once"
    assert [(folder / "confirmed.json").exists() for folder in folders].count(True) == 1
    assert sum("another worker confirms its best trials" in out for out in outputs) == 1
    # A worker that comes late finds all done, and shows what was confirmed elsewhere
    late = finished(begin(tmp_path / "three", *words))[0]
    assert "6 trials are done" in late and "verdict: " in late
    assert not list((tmp_path / "three").glob("runs/rates/[0-9]*"))
    result = [
        json.loads((folder / "confirmed.json").read_text())
        for folder in folders
        if (folder / "confirmed.json").exists()
    ]
    assert json.loads((tmp_path / "three/runs/rates/confirmed.json").read_text()) == result[0]
    # The same name for something else
    _, error = finished(begin(tmp_path / "four", *words, "way=3"), status=2)
    assert error.count("\n") == 1 and "begun with other settings (settings of all trials: none -> way=3)" in error
    assert not (tmp_path / "four" / "runs").exists()


def test_a_shared_folder_lets_another_worker_resume_a_lost_trial(server, tmp_path):
    words = ["search=random", *SMALL, RATE, "steps=150", "eval.every=30", "search.trials=1", "search.confirm=0",
             f"search.storage={server.url}", "search.name=shared", "search.heartbeat=1"]  # fmt: skip
    first = begin(tmp_path, *words)
    metrics = tmp_path / "runs" / "shared" / "0" / "metrics.csv"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 2) and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert finished(begin(tmp_path, *words))[0].count("trial 0 (1 of 1)") == 1
    (row,) = table(tmp_path / "runs" / "shared")
    assert row["state"] == "complete" and list(json.loads(row["scores"])) == [str(step) for step in range(30, 151, 30)]
    assert "resum" in (tmp_path / "runs" / "shared" / "logs" / "0.txt").read_text()
    with open(metrics) as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps)) and steps[-1] == 150


def test_machines_average_seeds(server, tmp_path):
    """A worker is killed between the two seeds of a trial; the other has the same folder and trains only the second."""
    words = ["search=random", *SMALL, RATE, "steps=150", "eval.every=50", "search.trials=2", "search.seeds=2",
             "search.confirm=0", f"search.storage={server.url}", "search.name=seeds", "search.heartbeat=1"]  # fmt: skip
    folder = tmp_path / "runs" / "seeds"
    first = begin(tmp_path, *words)
    deadline = time.monotonic() + 200
    while not (folder / "0" / "seed1" / "metrics.csv").exists() and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = (folder / "0" / "seed0" / "result.json").read_bytes()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    finished(begin(tmp_path, *words))
    assert (folder / "0" / "seed0" / "result.json").read_bytes() == before
    for row in table(folder):
        results = [json.loads((folder / row["trial"] / f"seed{i}" / "result.json").read_text()) for i in range(2)]
        assert row["state"] == "complete" and results[0]["seed"] != results[1]["seed"]
        mean = sum(result["val_accuracy"] for result in results) / 2
        assert float(row["val_accuracy"]) == pytest.approx(mean, abs=1e-12)
    assert [row["trial"] for row in table(folder)] == ["0", "1"]


def test_the_trial_of_a_killed_process_is_given_back_at_once_and_none_is_left_behind(server, tmp_path):
    """Heartbeats alone would give it back after 120 s. A control ends the search, but not what was begun."""
    words = ["search=random", *SMALL, RATE, "steps=90", "eval.every=30", "search.workers=2", "search.confirm=0",
             "+search.control.NumberLimit.n=2", f"search.storage={server.url}", "search.name=killed",
             "search.heartbeat=30", "control.cycle.Save.seconds=0.05"]  # fmt: skip
    parent = begin(tmp_path, *words)
    runs = [tmp_path / "runs" / "killed" / str(number) / "checkpoints/last.pt" for number in range(2)]
    deadline = time.monotonic() + 200
    while not all(run.exists() for run in runs) and parent.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
    os.kill(child, signal.SIGKILL)
    out, _ = finished(parent)
    assert "was killed by signal 9: its trial is given back" in out
    rows = table(tmp_path / "runs" / "killed")
    assert {row["state"] for row in rows} == {"complete"} and len(rows) >= 2
    assert sum("resum" in log.read_text() for log in (tmp_path / "runs" / "killed" / "logs").glob("*.txt")) == 1


def test_a_signal_while_the_server_is_away_saves_the_trial(server, tmp_path):
    words = ["search=random", *SMALL, RATE, "steps=150", "eval.every=30", "search.trials=1", "search.confirm=0",
             f"search.storage={server.url}", "search.name=away", "search.heartbeat=1"]  # fmt: skip
    folder = tmp_path / "runs" / "away"
    first = begin(tmp_path, *words)
    deadline = time.monotonic() + 200
    while not (folder / "0" / "metrics.csv").exists() and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.stop()
    try:
        time.sleep(5)
        first.send_signal(signal.SIGTERM)
        out, _ = finished(first, status=128 + signal.SIGTERM)
    finally:
        server.start()
    assert out.count("waiting for the database (") == 1
    assert "stopped by SIGTERM" in out and "To resume: " in out and "hydra.sweep.dir=runs/away" in out
    assert (folder / "0" / "checkpoints" / "last.pt").exists()
    assert "trial 0 (1 of 1)" in finished(begin(tmp_path, *words))[0]
    assert "resum" in (folder / "logs" / "0.txt").read_text()


def test_a_search_with_a_password_is_resumed_by_its_printed_line_without_it(tmp_path):
    secret = "s3cret/word"
    server = Server(password=secret)
    try:
        url = server.url.replace("@", f":{secret.replace('/', '%2F')}@")
        words = ["search=random", *SMALL, RATE, "steps=150", "eval.every=30", "search.trials=1", "search.confirm=0",
                 "search.name=locked", "tracker=wandb"]  # fmt: skip
        folder = tmp_path / "runs" / "locked"
        first = begin(tmp_path, *words, f"search.storage={url}", WANDB_MODE="offline")
        deadline = time.monotonic() + 200
        while not (folder / "0" / "metrics.csv").exists() and first.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)
        out, error = finished(first, status=128 + signal.SIGTERM)
        (line,) = [
            line for line in out.splitlines() if "To resume, with the password in PGPASSWORD or ~/.pgpass: " in line
        ]
        again = shlex.split(line.rpartition("~/.pgpass: ")[2])
        assert again[:4] == ["python", "-m", "metalearn.run", "-m"]
        _, refused = finished(begin(tmp_path, *again[4:], WANDB_MODE="offline", PGPASSFILE="nowhere"), status=2)
        assert "cannot be reached" in refused and "password" in refused
        later, _ = finished(begin(tmp_path, *again[4:], WANDB_MODE="offline", PGPASSWORD=secret))
        assert "trial 0 (1 of 1)" in later and "resum" in (folder / "logs" / "0.txt").read_text()
    finally:
        server.close()
    found = [
        out,
        error,
        later,
        *(path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()),
    ]
    assert not [text for text in found if secret in text or secret.replace("/", "%2F") in text]
