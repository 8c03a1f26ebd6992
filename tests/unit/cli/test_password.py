"""The password of a search's database is moved to the environment, where nothing prints or records it."""

import sys

import pytest

from metalearn.cli import password
from metalearn.cli.overrides import value_of

TYPED = {
    "search.storage=postgresql://lab:pw@host/lab": ("postgresql://lab@host/lab", "pw"),
    "search.storage=postgresql://lab:p%40w%2F1@host:5/lab": ("postgresql://lab@host:5/lab", "p@w/1"),
    'search.storage="postgresql://lab:p=w@host/lab?sslmode=require"': (
        "postgresql://lab@host/lab?sslmode=require",
        "p=w",
    ),
    "search.storage='postgresql://lab@host/lab?password=pw&sslmode=require'": (
        "postgresql://lab@host/lab?sslmode=require",
        "pw",
    ),
    "search.storage=postgresql://lab@host/lab?a=b&password=pw": ("postgresql://lab@host/lab?a=b", "pw"),
    "search.storage=postgresql://lab@host/lab": None,
    "search.storage=postgresql://lab:${oc.env:SECRET}@host/lab": None,
    "data.root=postgresql://lab:pw@host/lab": None,
}


@pytest.mark.parametrize("word", TYPED)
def test_a_password_is_left_out_of_the_command_line(word, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["metalearn", "-m", word, "way=5"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "metalearn.run", "-m", word, "way=5"])
    monkeypatch.setenv("PGPASSWORD", "before")
    password.hide_password()
    said = capfd.readouterr().out
    if TYPED[word] is None:
        assert sys.argv[2] == sys.orig_argv[4] == word and said == ""
        return
    url, secret = TYPED[word]
    assert value_of(sys.argv[2]) == value_of(sys.orig_argv[4]) == url and password.os.environ["PGPASSWORD"] == secret
    assert sys.argv[3] == "way=5" and "give it by ~/.pgpass or PGPASSWORD" in said and secret not in said


@pytest.mark.slow
def test_a_refused_search_does_not_show_its_password(typed):
    done = typed("-m", "search=tpe", "algo.inner_steps=range(1,6)", "search.storage=[postgresql://lab:tell@no.one/lab")
    assert done.returncode == 2 and "search.storage" in done.stderr and "tell" not in done.stdout + done.stderr
