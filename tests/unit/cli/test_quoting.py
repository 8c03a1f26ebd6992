"""Paths and texts as users type them: quoted where Hydra's grammar needs it."""

import shlex
import subprocess

import pytest

from metalearn.cli.overrides import value_of
from metalearn.config.quoting import assignment, hydra_quoted, quoted_words, shell_quoted
from tests.helpers.configs import QUICK, every
from tests.helpers.processes import refused


@pytest.mark.parametrize(
    "value", every(4, ["naïve", "a [1]", "a=b", "a(1", "50%{x}", "it's", "a,b[", "#1", "a:b;c&d!", 'say "x"'])
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


@pytest.mark.slow
def test_a_run_with_such_names_is_resumed(typed, tmp_path):
    words = ("+control.cycle.keep={_target_: metalearn.controls.Save}", "control.cycle.Save.seconds=1")
    folder = "runs [1]/é=ü"
    done = typed(*QUICK, "+control.cycle.Warn.predicate=grad_norm > 1e9", *words[1:], f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / folder / "result.json").exists()
    again = typed(f"resume={folder}")
    assert again.returncode == 0 and "this run is complete" in again.stdout, again.stderr


NAMES = {
    "/data/my second run": """'resume="/data/my second run"'""",
    "it's here": '''"resume=\\"it's here\\""''',
    "runs/plain-1_x.y": "resume=runs/plain-1_x.y",
    'say "x"': None,
    """both ' and " """: None,
    "a=b": None,
    "a, b": None,
    "a (1) [2] {3}": None,
    "naïve é 日本": None,
    "$HOME `x` !y #z": None,
    "back\\slash": None,
    "end\\": None,
    "it\\'s": None,
    "null": None,
    "1e3": None,
    "interval(0.01 2)": None,
    "~/home": None,
    "a\nb": None,
}


def test_a_printed_word_gives_the_name_in_bash_and_in_hydra():
    printed = [assignment("resume", name) for name in NAMES]
    for name, word in zip(NAMES, printed, strict=True):
        (typed,) = shlex.split(word)
        (read,) = quoted_words([typed])
        assert value_of(read) == name and (NAMES[name] or word) == word
        assert value_of(f"x={hydra_quoted(name)}") == name
    plain = [shell_quoted(name) for name in NAMES]
    line = " ".join(["printf '%s\\0'", *printed, *plain])
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    shown = done.stdout.split("\0")[:-1]
    assert shown == [*(shlex.split(word)[0] for word in printed), *NAMES]


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
