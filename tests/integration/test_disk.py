"""Folders and disks that refuse: one clear line, the right exit status, and nothing is lost."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.configs import QUICK, every
from tests.helpers.folders import folder_of
from tests.helpers.processes import refused


def complete(typed, *words):
    done = typed(*QUICK, *words)
    assert done.returncode == 0, done.stderr
    return done


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
def test_a_folder_with_a_run_is_not_overwritten(typed, tmp_path):
    complete(typed, "hydra.run.dir=out")
    before = content_of(tmp_path / "out")
    assert any(path.name == "overrides.yaml" for path in before)
    refused(
        typed(*QUICK, "seed=5", "hydra.run.dir=out"),
        "already contains a run: resume it (python -m metalearn.run resume=",
    )
    refused(typed("resume=out", "steps=4"), "complete and is not changed any more (steps: 3 -> 4). To train from its")
    refused(typed("resume=out", "model.filters=3", "allow_changes=true"), "this run is complete")
    refused(typed("resume=out", "hydra.run.dir=other"), "leave hydra.run.dir= out")
    assert content_of(tmp_path / "out") == before
    assert typed("resume=out").returncode == 0 and content_of(tmp_path / "out") == before


@pytest.mark.integration
def test_nobody_reads_the_output(tmp_path):
    """`... | head -1`: the run goes on."""
    words = " ".join(f"'{word}'" for word in (*QUICK, "hydra.run.dir=out"))
    line = f"{sys.executable} -m metalearn.run {words} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr and (tmp_path / "out" / "result.json").exists()


DAMAGE = {
    "config.json is cut": ("config.json", b'{"config": {', "damaged: this run cannot be resumed"),
    "config.json is something else": ("config.json", b"[1, 2]", "damaged: this run cannot be resumed"),
    "config.json lacks its words": ("config.json", b'{"config": {}}', "damaged: this run cannot be resumed"),
    "config.json is gone": ("config.json", None, "no run was started there"),
    "result.json is cut": ("result.json", b'{"algo": ', "result.json: damaged; remove it"),
}


@pytest.mark.parametrize("kind", every(4, DAMAGE))
def test_a_damaged_run(kind, typed, tmp_path):
    complete(typed, "hydra.run.dir=out")
    file, content, message = DAMAGE[kind]
    (tmp_path / "out" / file).unlink() if content is None else (tmp_path / "out" / file).write_bytes(content)
    refused(typed("resume=out"), message)


@pytest.mark.slow
def test_a_run_folder_that_cannot_be_made(typed, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(typed(*QUICK, "hydra.run.dir=file"), "File exists")
    refused(typed(*QUICK, "hydra.run.dir=file/below"), "Not a directory")
    refused(typed(*QUICK, "hydra.run.dir=/proc/nowhere"), "/proc/nowhere")


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own: `disk(size)` makes it, and again changes its size; `ro` makes it read-only."""
    place = tmp_path / "disk"

    def mount(options):
        place.mkdir(exist_ok=True)
        again = ["-o", f"remount,{options}"] if os.path.ismount(place) else ["-t", "tmpfs", "-o", options, "tmpfs"]
        if subprocess.run(["mount", *again, str(place)], capture_output=True).returncode:
            pytest.skip("this user may not mount a file system")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_read_only_data_and_run_folders(typed, tmp_path, disk):
    place = disk("size=4m")
    folder_of(place / "data", 8, 8)
    complete(typed, f"hydra.run.dir={place}/run")
    before = content_of(place)
    disk("ro")
    refused(typed(*QUICK, f"hydra.run.dir={place}/other"), "Read-only file system")
    refused(typed(f"resume={place}/run", "steps=5", "allow_changes=true"), "this run is complete")
    shown = typed(f"resume={place}/run")
    assert shown.returncode == 0 and "this run is complete" in shown.stdout, shown.stderr
    words = (
        "data=folder",
        f"data.root={place}/data",
        "data.size=12",
        "data.min_images=4",
        "data.split=[0.4,0.3,0.3]",
        "way=2",
    )
    done = typed(*(w for w in QUICK if not w.startswith("data")), *words, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert content_of(place) == before


@pytest.mark.slow
def test_a_full_disk_stops_no_training_and_loses_nothing(typed, tmp_path, disk):
    """What cannot be written is kept, tried again, and at the end the run can be resumed."""
    words = [w for w in QUICK if not w.startswith(("steps", "model"))]
    words += ["steps=8", "model.filters=16", "control.cycle.Step.n=2"]
    assert typed(*words, "hydra.run.dir=whole").returncode == 0
    place = disk("size=200k")  # room for a checkpoint, not for two, nor for the pictures
    done = typed(*words, f"hydra.run.dir={place}/run", pictures=True)
    refused(done, "No space left on device", status=1)
    assert "to resume: " in done.stderr and done.stdout.count("No space left on device") == 1
    assert "test accuracy" in done.stdout and "step 8/8" in done.stdout  # it went on to the end, and showed the result
    disk("size=20m")
    assert typed(f"resume={place}/run").returncode == 0
    for file in ("metrics.csv", "layers.csv"):
        assert (place / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    clock = ("train_seconds", "tasks_per_second")
    one, other = (json.loads((f / "result.json").read_text()) for f in (place / "run", tmp_path / "whole"))
    assert one | dict.fromkeys(clock) == other | dict.fromkeys(clock)


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch, capsys):
    """In the middle of a row: the file is written again as a whole, without half a row."""
    from metalearn.recording.record import Record
    from metalearn.recording.writer import RetryingWriter
    from metalearn.trackers.base import Tracker

    record = Record(tmp_path, Tracker(), "accuracy", RetryingWriter())
    record.start()
    real, broken = open, []

    class Half:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(28, "No space left on device", "metrics.csv")

    for step in range(1, 9):
        if step == 4:
            broken = [True]
            monkeypatch.setattr(
                "builtins.open", lambda p, m="r", **k: Half(real(p, m)) if "a" in m else real(p, m, **k)
            )
        if step == 6:
            monkeypatch.setattr("builtins.open", real)
        record.log(step, {"train_loss": step / 7, "tasks_per_second": 1.0})
    record.finish()
    assert broken
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(step), str(step / 7)] for step in range(1, 9)]
    said = capsys.readouterr().out
    assert said.count("No space left") == 1 and said.count("can be written again") == 1


def test_a_run_is_not_complete_while_a_table_is_not(tmp_path, monkeypatch):
    """Room for result.json, but none for a copy of metrics.csv."""
    from metalearn.lifecycle.launch import train
    from metalearn.recording import record
    from metalearn.runtime.errors import Unfinished
    from tests.helpers.configs import SINUSOID, config
    from tests.helpers.resuming import same

    train(config(*SINUSOID), tmp_path / "whole")
    before = record.write_atomically

    def refuse(path, data):
        if path.name == "metrics.csv":
            raise OSError(28, "No space left on device", str(path))
        before(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(record, "write_atomically", refuse)
        with pytest.raises(
            Unfinished, match=r"metrics\.csv: No space left on device at meta-step 20; resume it with resume="
        ):
            train(config(*SINUSOID), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists() and not (tmp_path / "run" / "metrics.csv").exists()
    train(config(*SINUSOID, "resume=auto"), tmp_path / "run")
    same(tmp_path / "whole", tmp_path / "run")


def test_files_obey_the_umask(tmp_path):
    from metalearn.runtime.files import write_atomically

    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            write_atomically(tmp_path / "file", b"x")
        finally:
            os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == mode
