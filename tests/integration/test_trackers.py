"""W&B, read back from its real files; and whatever goes wrong with it, the run does not notice."""

import csv
import json
import os
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from metalearn.trackers import dashboard
from metalearn.trackers.base import SafeTracker, Tracker, TrackerRun, sectioned
from tests.helpers.configs import QUICK
from tests.unit.trackers.test_dashboard import named, panels

PICTURES = {"curves", "layers", "tasks", "confusion"}
OFFLINE = {"WANDB_MODE": "offline", "WANDB_API_KEY": ""}


def records(file):
    """The records of an offline W&B file.

    They lie in LevelDB's log format behind a header of 7 bytes.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, part = file.read_bytes(), 7, b""
    while at + 7 < len(data):
        if (room := 32768 - at % 32768) < 7:  # no header fits into the rest of a block
            at += room
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part, at = part + data[at + 7 : at + 7 + size], at + 7 + size
        if kind not in (1, 4):  # a first or middle part
            continue
        record = wandb_internal_pb2.Record()
        record.ParseFromString(part)
        part = b""
        yield record


def exit_codes(file):
    return [record.exit.exit_code for record in records(file) if record.HasField("exit")]


def read(file):
    """History rows, summary, the run's own record and the defined metrics of an offline W&B file."""
    history, summary, runs, metrics = [], {}, [], {}
    for record in records(file):
        if record.history.item:
            history.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
        if record.HasField("run"):
            runs.append(record.run)
        if record.HasField("metric"):
            metrics[record.metric.name or record.metric.glob_name] = record.metric
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return history, summary, runs[0], metrics


def rows_of(folder):
    return list(csv.DictReader(open(folder / "metrics.csv")))


@pytest.mark.slow
def test_a_wandb_run_can_be_read_back(typed, tmp_path):
    done = typed(
        *QUICK,
        "tracker=wandb",
        "tracker.wandb.group=mine",
        "tracker.wandb.tags=[a,b]",
        "algo=metasgd",
        "hydra.run.dir=out",
        pictures=True,
        **OFFLINE,
    )
    assert done.returncode == 0, done.stderr
    assert "W&B is offline" in done.stdout
    (file,) = (tmp_path / "out").rglob("*.wandb")
    history, summary, about, metrics = read(file)
    rows = rows_of(tmp_path / "out")
    logged = [row for row in history if "train/loss" in row]
    assert [int(row["step"]) for row in logged] == [int(row["_step"]) for row in logged] == [1, 2, 3]
    for name in ("train_loss", "val_loss", "val_accuracy", "grad_norm", "lr"):
        assert [row.get(sectioned(name)) for row in logged] == [float(row[name]) if row[name] else None for row in rows]
    assert all("tasks_per_second" in row for row in logged)
    shown = {key.split("/")[0] for row in history for key in row}
    assert PICTURES | {"rates"} <= shown and any(key.startswith("adaptation_curve") for key in shown)
    assert metrics["*"].step_metric == "step" and metrics["val/accuracy"].summary.max
    assert (
        summary["val_accuracy"]
        == summary["val/accuracy"]["max"]
        == max(float(row["val_accuracy"]) for row in rows if row["val_accuracy"])
    )
    assert summary["test_accuracy"] == json.loads((tmp_path / "out" / "result.json").read_text())["test_accuracy"]
    layers = [row for row in history if "layers/convs.0 mean" in row]
    assert [row["step"] for row in layers] == [2, 3] and all("layers/head relative change" in row for row in layers)
    assert all(row["rates/convs.0"] > 0 for row in layers)
    assert about.run_group == "mine" and set(about.tags) == {"a", "b"}
    made = dashboard.workspace("me/mine")
    keys = {key for row in history for key in row}
    for name in named(made):
        assert name.startswith("pictures/") or any(f"{key}/".startswith(f"{name}/") for key in keys), name
    patterns = [config["metricRegex"] for *_, config in panels(made) if "metricRegex" in config]
    assert len(patterns) == 2 and all(any(re.fullmatch(pattern, key) for key in keys) for pattern in patterns)


@pytest.mark.integration
def test_a_resumed_run_continues_the_same_wandb_run(tmp_path):
    from tests.helpers.configs import WORDS
    from tests.helpers.processes import begin, wait_for

    words = (*WORDS, "tracker=wandb", "hydra.run.dir=run")
    os.environ.update(OFFLINE)
    process = begin(tmp_path, *words)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "previous.pt").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 143
    process = begin(tmp_path, "resume=run")
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    files = sorted((tmp_path / "run").rglob("*.wandb"), key=lambda file: file.stat().st_mtime)
    parts = [read(file) for file in files]
    assert len(parts) == 2 and len({about.run_id for *_, about, _ in parts}) == 1
    rows = {int(row["step"]): row for history, *_ in parts for row in history if "train/loss" in row}
    expected = {int(row["step"]): row for row in rows_of(tmp_path / "run")}
    assert rows.keys() == expected.keys()
    assert all(rows[step]["train/loss"] == float(row["train_loss"]) for step, row in expected.items())


@pytest.mark.slow
def test_a_sweeps_runs_share_a_group(typed, tmp_path):
    done = typed("-m", *QUICK, "tracker=wandb", "seed=0,1", "hydra.sweep.dir=my_sweep", **OFFLINE)
    assert done.returncode == 0, done.stderr
    about = [read(file)[2] for file in (tmp_path / "my_sweep").rglob("*.wandb")]
    assert [a.run_group for a in about] == ["my_sweep"] * 2 and about[0].run_id != about[1].run_id


@pytest.mark.slow
def test_a_study_is_a_group_with_a_run_for_each_trial_and_a_summary(typed, tmp_path):
    """Four trials compete: two are promoted, one of them twice. Each continues its W&B run."""
    words = ("-m", "search=random", "algo=anil", "data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12",
             "eval.every=3", "eval.tasks=10", "eval.test_tasks=10", "algo.inner_steps=range(1, 4)",
             "algo.inner_optimizer.lr=tag(log, interval(0.01, 2))", "search.compete=halving", "search.factor=2",
             "search.trials=4", "search.confirm=1", "search.confirm_seeds=2", "search.confirm_tasks=12")  # fmt: skip
    done = typed(*words, "tracker=wandb", "hydra.sweep.dir=study", pictures=True, **OFFLINE)
    assert done.returncode == 0, done.stderr
    study, parts = tmp_path / "study", {}
    for file in sorted(study.rglob("*.wandb")):
        history, summary, about, _ = read(file)
        assert about.run_group == "study" and about.project == "metalearn"
        parts.setdefault(about.run_id, []).append((history, summary, about, file))
    prefix = next(name for name in parts if name.endswith("-summary")).removesuffix("-summary")
    assert prefix.startswith("study-") and len(prefix) == len("study-") + 16
    trials = {number: parts.pop(f"{prefix}-{number}") for number in range(4)}
    assert [len(trials[number]) for number in range(4)].count(1) == 2 and max(map(len, trials.values())) == 3
    for number, sessions in trials.items():
        logged = [row for history, *_ in sessions for row in history if "train/loss" in row]
        expected = rows_of(study / str(number))
        assert sorted({int(row["step"]) for row in logged}) == [int(row["step"]) for row in expected]
        assert {about.job_type for *_, about, _ in sessions} == {"trial"}
        assert {about.display_name for *_, about, _ in sessions} == {f"study/{number}"}
        assert all(exit_codes(file) == [0] for *_, file in sessions)  # a paused trial has not failed
    ((history, summary, about, _),) = parts.pop(f"{prefix}-summary")
    assert about.job_type == "summary" and about.display_name == "study/summary"
    with open(study / "trials.csv", newline="") as file:
        table = list(csv.DictReader(file))
    best = max((row for row in table if row["state"] == "complete"), key=lambda row: float(row["val_accuracy"]))
    assert summary["best_trial"] == int(best["trial"]) and summary["best/val_accuracy"] == float(best["val_accuracy"])
    assert summary["settings/algo.inner_steps"] == int(best["algo.inner_steps"]) and summary["finished_trials"] == 4
    confirmed = json.loads((study / "confirmed.json").read_text())
    assert summary["confirmed/better_than_defaults"] == confirmed["better_than_defaults"]
    (shown,) = [file for file in study.rglob("*.table.json") if "trials" in file.name]
    columns = json.loads(shown.read_text())
    assert columns["columns"][:3] == ["trial", "state", "val_accuracy"] and len(columns["data"]) == 4
    shown = {"/".join(key.split("/")[:2]) for row in history for key in row if key.startswith("pictures")}
    assert shown == {f"pictures/{path.stem}" for path in study.glob("*.png")} and "pictures/trials" in shown
    assert shown <= named(dashboard.workspace("me/mine"))
    names = {
        f"{prefix}-confirm-{name}-seed{seed}" for name in ("defaults", f"trial_{best['trial']}") for seed in (0, 1)
    }
    assert set(parts) == names and {entry[0][2].job_type for entry in parts.values()} == {"confirmation"}


@pytest.fixture
def server():
    """A W&B server that knows no key."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"errors": [{"message": "user is not logged in"}]}'
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize(
    "kind",
    ["a refused connection", "a wrong key", "no such host"],
)
@pytest.mark.slow
def test_without_wandb_the_run_goes_on(kind, typed, tmp_path, server):
    where = {
        "a wrong key": server,
        "a refused connection": "http://127.0.0.1:9",
        "no such host": "http://wandb.invalid",
    }[kind]
    done = typed(
        *QUICK,
        "tracker=wandb",
        "hydra.run.dir=out",
        WANDB_MODE="online",
        WANDB_API_KEY="0" * 40,
        WANDB_BASE_URL=where,
        WANDB_INIT_TIMEOUT="3",
    )
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stdout and "Traceback" not in done.stderr + done.stdout
    assert [row["step"] for row in rows_of(tmp_path / "out")] == ["1", "2", "3"]
    assert (tmp_path / "out" / "result.json").exists()
    files = sorted((tmp_path / "out").rglob("offline-run-*/*.wandb"))
    assert len(files) == 1, "the offline run was not written"
    history, summary, _, _ = read(files[0])
    assert [row["train/loss"] for row in history if "train/loss" in row] == [
        float(row["train_loss"]) for row in rows_of(tmp_path / "out")
    ]
    assert "test_accuracy" in summary


@pytest.mark.slow
def test_two_trackers_at_once_and_the_best_checkpoint_as_an_artifact(typed, tmp_path):
    pytest.importorskip("tensorboard")
    done = typed(
        *QUICK,
        "tracker=[wandb,tensorboard]",
        "tracker.wandb.artifact=true",
        "tracker.wandb.entity=team",
        "hydra.run.dir=out",
        **OFFLINE,
    )
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").rglob("*.wandb")
    assert read(file)[2].entity == "team"
    assert b"learner-" in file.read_bytes() and b"best.pt" in file.read_bytes()
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))


@pytest.mark.slow
def test_another_tracker_is_no_changed_configuration(typed, tmp_path):
    assert typed(*QUICK, "hydra.run.dir=out").returncode == 0
    done = typed("resume=out", "tracker=wandb", **OFFLINE)
    assert done.returncode == 0 and "this run is complete" in done.stdout, done.stderr


class Broken(Tracker):
    """A tracker whose disk is full, at every call or from one on."""

    def __init__(self, *, at: str):
        self.at = at

    def start(self, config, folder, run):
        self._fail("start")

    def log(self, step, row):
        self._fail("log")

    def finish(self, result, pictures):
        self._fail("finish")

    def close(self, complete):
        self._fail("close")

    def _fail(self, where):
        if where == self.at:
            raise OSError(28, "No space left on device")


class Witness(Tracker):
    """A tracker that remembers."""

    steps: ClassVar[list[int]] = []

    def start(self, config, folder, run):
        self.steps.clear()

    def log(self, step, row):
        self.steps.append(step)


@pytest.mark.parametrize("at", ["start", "log", "finish", "close"])
def test_a_tracker_that_fails_stops_nothing(at, tmp_path, capsys):
    from metalearn.lifecycle.launch import train
    from tests.helpers.configs import config

    words = ("data=sinusoid", "steps=9", "log_every=2", "model.hidden=[8]")
    mine = {"_target_": "tests.integration.test_trackers.Broken", "at": at}
    other = {"_target_": "tests.integration.test_trackers.Witness"}
    train(config(*words) | {"tracker": {"mine": mine, "other": other}}, tmp_path)
    assert Witness.steps == [2, 4, 6, 8, 9]  # the other tracker is told everything
    assert capsys.readouterr().out.count("the tracker mine failed (OSError: [Errno 28] No space left on device)") == 1
    assert [row["step"] for row in rows_of(tmp_path)] == ["2", "4", "6", "8", "9"] and (
        tmp_path / "result.json"
    ).exists()


def test_a_failed_tracker_is_told_nothing_more(tmp_path):
    calls = []

    class Once(Tracker):
        def log(self, step, row):
            calls.append(step)
            raise ValueError("no")

    tracker = SafeTracker(Once(), "once")
    tracker.start({}, tmp_path, TrackerRun("a", None, False))
    tracker.log(1, {})
    tracker.log(2, {})
    assert calls == [1]


@pytest.mark.slow
def test_tensorboard(typed, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = typed(*QUICK, "tracker=tensorboard", "hydra.run.dir=out", pictures=True)
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3]
    assert len(events.Scalars("test/adaptation_curve")) == 3 and set(events.Tags()["images"]) == PICTURES
