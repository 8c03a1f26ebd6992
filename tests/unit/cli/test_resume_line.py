"""The printed command that resumes a run, and the state in which a stopped run leaves its folder."""

import json
import os
import pty
import shlex
import signal
import sys

import pytest

from metalearn.runtime.console import console, drop, say
from tests.helpers.configs import QUICK, ROOT, every
from tests.helpers.processes import refused

MINE = """
from pathlib import Path

from metalearn.algorithms.anil import ANIL
from metalearn.algorithms.maml import MAML
from metalearn.data import Dataset, glyphs
from metalearn.models.conv4 import Conv4


class Slow(MAML):
    pass


class Tail(ANIL):
    pass


class Small(Conv4):
    pass


def characters() -> Dataset:
    return glyphs.load(classes=[8, 6, 6], split_seed=0, rotate_train=True, rotate_test=True)


def fail_once(run):  # at the end of the first cycle
    if not Path("failed").exists():
        Path("failed").touch()
        raise RuntimeError("once")


def fail_first(run):  # which no file of the user's names
    fail_once(run)
"""


def choices(folder):
    """A package with an algorithm, a model and a data set, and a configuration folder with their choices."""
    (folder / "mine.py").write_text(MINE)
    conf = folder / "my conf"
    algo = (ROOT / "conf/algo/maml.yaml").read_text().replace("metalearn.algorithms.maml.MAML", "mine.Slow")
    model = (ROOT / "conf/model/conv4.yaml").read_text().replace("metalearn.models.conv4.Conv4", "mine.Small")
    control = "defaults: [steps, _self_]\ncycle:\n  Callback: {f: mine.fail_once}\n"
    for name, text in (("algo", algo), ("model", model), ("data", "_target_: mine.characters\n"), ("control", control)):
        (conf / name).mkdir(parents=True)
        (conf / name / "own.yaml").write_text(text)


OWN = ["algo=own", "model=own", "data=own"]


@pytest.fixture
def failed(typed, tmp_path):
    """A run of the user's own choices in the folder `a run`, stopped after 2 of 3 meta-steps; returns the command."""
    choices(tmp_path)
    words = [word for word in QUICK if not word.startswith("data")]
    return typed("--config-dir", "my conf", *words, *OWN, "control=own", "hydra.run.dir=a run")


def result_of(tmp_path):
    return json.loads((tmp_path / "a run" / "result.json").read_text())


@pytest.mark.slow
def test_settings_typed_between_or_after_options_take_effect_on_resuming(typed, tmp_path, failed):
    done = typed("resume='a run'", "allow_changes=true", "--config-dir", "my conf", "steps=5", "test=false")
    assert done.returncode == 0, done.stderr
    assert "resuming with changes: steps: 3 -> 5; test: true -> false" in done.stdout
    assert result_of(tmp_path)["steps_taken"] == 5 and "test_tasks" not in result_of(tmp_path)


def test_the_printed_line_works_anywhere_and_asks_for_no_more_trust_than_is_needed(typed, tmp_path, failed):
    words = shlex.split(failed.stderr.strip().rpartition(": ")[2])
    assert words[3:5] == ["--config-dir", str(tmp_path / "my conf")] and "trust=true" not in words
    done = typed(*words[3:])
    assert done.returncode == 0 and "from meta-step 2" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_run_of_the_users_own_choices_resumes_without_their_files(typed, tmp_path, failed):
    (tmp_path / "my conf").rename(tmp_path / "elsewhere")
    refused(typed("resume='a run'"), "add trust=true")
    refused(typed("resume='a run'", "trust=true", "steps=5", "allow_changes=true"),
            "whose file is not here and is needed to change a setting (steps=5): add --config-dir")  # fmt: skip
    done = typed("resume='a run'", "trust=true")
    assert done.returncode == 0 and "from meta-step 2" in done.stdout, done.stderr
    assert (result_of(tmp_path)["algo"], result_of(tmp_path)["steps_taken"]) == ("slow", 3)


@pytest.mark.slow
def test_resuming_automatically_names_the_nearest_run_where_a_new_one_begins(typed, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    words = (*QUICK, "+control.cycle.Callback.f=mine.fail_once")
    assert typed(*words).returncode == 1
    (folder,) = (tmp_path / "runs").iterdir()
    done = typed(*words, "+control.cycle.TimeLimit.hours=1", "resume=auto")
    assert done.returncode == 0, done.stderr
    said = f"a new one begins; nearest: runs/{folder.name}, where control.cycle.TimeLimit: null -> {{"
    assert said in done.stdout and f"to resume that one: resume=runs/{folder.name}" in done.stdout
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.slow
def test_another_choice_on_resuming_is_explained(typed, tmp_path):
    assert typed(*QUICK, "algo.adapt_norm=false", "hydra.run.dir=out").returncode == 0
    refused(typed("resume=out", "algo=anil"), "for a new run with its weights, algo=anil init=out")
    assert typed(*QUICK, "experiment=omniglot/maml_5w1s", "hydra.run.dir=recipe").returncode == 0
    refused(typed("resume=recipe", "algo=anil"), "this run is complete", "with a fresh optimizer: a new run with init=")


@pytest.mark.parametrize("how", every(2, [("--config-dir", "my conf"), ("--config-dir=my conf",)]))
def test_a_run_of_the_users_own_choices_resumes_by_the_line_as_printed(typed, tmp_path, how):
    choices(tmp_path)
    words = [word for word in QUICK if not word.startswith("data")]
    done = typed(*how, *words, *OWN, "+control.cycle.Callback.f=mine.fail_first", "hydra.run.dir=a run")
    assert done.returncode == 1 and "once" in done.stderr, done.stderr
    line = done.stderr.strip().rpartition(": ")[2]
    assert f"""'resume="{tmp_path / "a run"}"'""" in line
    assert line.endswith(" trust=true")  # the function is named by no file of the user's
    assert shlex.split(line)[:3] == ["python", "-m", "metalearn.run"]
    again = typed(*shlex.split(line)[3:])
    assert again.returncode == 0, again.stderr
    assert "from meta-step" in again.stdout
    assert result_of(tmp_path)["algo"] == "slow"


@pytest.mark.slow
def test_a_choice_with_another_class_has_the_name_of_the_class(typed, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    done = typed(*QUICK, "algo=anil", "algo._target_=mine.Tail", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text())["algo"] == "tail"
    assert "tail on glyphs" in done.stdout and "anil" not in done.stdout


def test_the_tables_of_a_stopped_run_have_their_last_row(stopped):
    rows = [line.split(",")[0] for line in (stopped / "metrics.csv").read_text().splitlines()]
    assert rows == ["step", "3", "5", "6", "9", "10", "12"]
    assert [line.split(",")[0] for line in (stopped / "timing.csv").read_text().splitlines()] == rows


def test_a_closed_terminal_ends_no_output_in_an_error(capfd):
    """A hung-up terminal answers every write with EIO; afterwards the output goes nowhere."""
    master, slave = pty.openpty()
    kept = os.dup(1)
    try:
        with capfd.disabled(), open(slave, "w") as terminal:
            os.close(master)
            before, sys.stdout = sys.stdout, terminal
            try:
                console().print("not suppressed")
                say("written nowhere")
            finally:
                sys.stdout = before
                drop(terminal)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@pytest.mark.slow
def test_a_closed_terminal_saves_and_ends_with_129(tmp_path):
    """A real terminal, closed in the middle of a training."""
    words = ("data=sinusoid", "steps=100000", "log_every=10", "eval.every=20", "eval.tasks=5", "model.hidden=[8]")
    pid, master = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
        os.chdir(tmp_path)
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "metalearn.run", *words, "hydra.run.dir=run"])
    shown = b""
    while b"step 20" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()
