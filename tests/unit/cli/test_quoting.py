"""Paths and texts as users type them: quoted where Hydra's grammar needs it."""

import pytest

from metalearn.config.quoting import quoted_words
from tests.helpers.configs import QUICK
from tests.helpers.processes import refused


@pytest.mark.parametrize(
    "value", ["naïve", "a [1]", "a=b", "a(1", "50%{x}", "it's", "a,b[", "#1", "a:b;c&d!", 'say "x"']
)
def test_a_folder_of_any_name(value, typed, tmp_path):
    refused(typed("data=folder", f"data.root=./{value}"), f"{value}: no such folder")


def test_values_that_the_grammar_reads_stay_as_they_are():
    words = [
        "way=5",
        "data.classes=[1,2,3]",
        "a=/x y/z",
        "m={a: 1}",
        "x='é'",
        "way=5,20",
        "~tracker",
        "-m",
        "s=${way}",
        "f=",
    ]
    assert quoted_words(words) == words
    assert quoted_words(["-m", "data.root=é,è"]) == [
        "-m",
        "data.root=é,è",
    ]  # two values of a sweep: for the user to quote


def test_home(monkeypatch):
    monkeypatch.setenv("HOME", "/there")
    assert quoted_words(["data.root=~/x", "hydra.run.dir=~/é"]) == ["data.root='/there/x'", "hydra.run.dir='/there/é'"]


def test_a_run_with_such_names_is_resumed(typed, tmp_path):
    words = ("+control.cycle.keep={_target_: metalearn.controls.Save}", "control.cycle.Save.seconds=1")
    folder = "runs [1]/é=ü"
    done = typed(*QUICK, "+control.cycle.Warn.predicate=grad_norm > 1e9", *words[1:], f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / folder / "result.json").exists()
    again = typed(f"resume={folder}")
    assert again.returncode == 0 and "this run is complete" in again.stdout, again.stderr


WRONG = {
    "resume=": "is empty: resume=RUN_DIR, or resume=auto",
    "hydra.run.dir=": "is empty: name a folder",
    "hydra.run.dir=''": "is empty: name a folder",
    "-m hydra.sweep.dir= way=5,3": "is empty: name a folder",
    "data=folder data.root=[a": "brackets or quotes do not match; a text with such signs: data.root='\"...\"'",
    "data.classes=[1,2": "brackets or quotes do not match",
    "steps=3é": "steps=3é: must be a whole number",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_read_is_one_line(words, typed, tmp_path):
    refused(typed("data=glyphs", *words.split()), WRONG[words], folder=tmp_path)
