"""The README is true: its commands, its code, its output, and its settings."""

import json
import re

import numpy as np
import pytest

import metalearn
from metalearn.lifecycle.launch import train
from tests.docs.pages import blocks, commands, section
from tests.helpers.configs import ROOT, config

README = (ROOT / "README.md").read_text()
SMALL = ("data=glyphs", "data.classes=[8,6,6]", "model.filters=4", "steps=2", "eval.tasks=2", "eval.test_tasks=2")


def test_it_is_short():
    assert len(README.split()) <= 1200


def test_set_up_is_two_commands():
    (block,) = (b for b in blocks(section(README, "## Install"), "") if "make" in b)
    assert [line.partition("#")[0].strip() for line in block.splitlines()] == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in ("run", "test", "docs"))


def test_the_first_run_prints_what_is_shown(typed):
    """Line by line, with any numbers: the run here is a smaller one."""
    part = section(README, "## First run")
    (words,) = (w for w in commands(part) if "steps=200" in w)
    (shown,) = blocks(part, "text")
    done = typed(
        *words,
        "data.classes=[8,6,6]",
        "model.filters=4",
        "steps=4",
        "log_every=2",
        "eval.every=4",
        "eval.tasks=4",
        "eval.test_tasks=4",
        "pictures=svg",
    )
    assert done.returncode == 0, done.stderr
    printed = [form(line) for line in (done.stdout + done.stderr).splitlines()]
    lines = [line for line in shown.splitlines() if line.strip()]
    assert len(lines) >= 10
    for line in lines:
        assert form(line) in printed, line


def form(line: str) -> str:
    """A line without its numbers and its spacing."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,_-]*", "#", line)).strip()


def test_use_after_training_works_as_printed(tmp_path):
    train(config("algo=anil", *SMALL, "way=5"), tmp_path / "run")
    code = blocks(section(README, "## Use after training"), "python")[0]
    code = re.sub(r'load\("[^"]*"\)', f"load({str(tmp_path / 'run')!r})", code)
    code = code.replace('"learner.pt"', repr(str(tmp_path / "learner.pt")))
    images = np.random.default_rng(0).random((5, 28, 28)).astype(np.float32)
    names: dict = {"images": images, "image": images[0]}
    exec(code, names)
    assert names["classifier"].classes == ["ka", "kha", "ga", "gha", "nga"]
    assert names["classifier"].predict_proba(images).shape == (5, 5)
    assert metalearn.load(tmp_path / "learner.pt").spec == names["learner"].spec


def test_the_loop_without_hydra_trains_as_printed():
    code = blocks(section(README, "## Use after training"), "python")[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    names: dict = {}
    exec(code, names)
    fresh, trained = names["maml"].init().learned, names["params"].learned
    assert (
        names["step"] == 1
        and names["score"].tasks == 20
        and any((trained[n].detach() != fresh[n].detach()).any() for n in fresh)
    )


def test_an_algorithm_of_the_user_works_as_printed(tmp_path, monkeypatch):
    part = section(README, "## Adding your own")
    (tmp_path / "mypackage.py").write_text(blocks(part, "python")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    (words,) = commands(part)
    train(config(*words, *SMALL), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["algo"] == "lastblock"


def test_the_settings_are_those_of_maml():
    node, printed = config("algo=maml"), {}
    for line in section(README, "## Settings").splitlines():
        if line.startswith("| `"):
            name, value = line.split("|")[1:3]
            printed[name.strip(" `")] = value.strip(" `")
    assert len(printed) == 10
    for name, value in printed.items():
        expected = node
        for part in name.split("."):
            expected = expected[part]
        assert str(expected) == value, name


def test_every_algorithm_is_in_the_table():
    named = re.findall(r"^\| \[`(\w+)`\]", section(README, "## Algorithms"), re.MULTILINE)
    assert sorted(named) == sorted(file.stem for file in (ROOT / "conf" / "algo").glob("[!_]*.yaml"))


@pytest.mark.parametrize("file", ["LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_it_links_to(file):
    assert f"]({file})" in README
