"""The time until something happens."""

import os
import time

import pytest


@pytest.mark.timing
def test_help_takes_less_than_two_seconds(run):
    run("--help")
    started = time.monotonic()
    assert run("--help").returncode == 0
    assert time.monotonic() - started < 2


@pytest.mark.timing
def test_the_first_meta_step_of_cached_omniglot_takes_less_than_ten_seconds(run, omniglot_root, tmp_path):
    from metalearn.data import omniglot

    omniglot.load(
        root=omniglot_root,
        split="random",
        split_seed=0,
        rotate_train=True,
        rotate_test=True,
        within_alphabet=False,
        download=False,
    )
    words = ("data=omniglot", "steps=1", "log_every=1", "eval.tasks=2", "eval.test_tasks=2", "hydra.run.dir=out")
    begun = time.time()
    done = run(
        *words,
        METALEARN_DATA=omniglot_root,
        XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "metrics.csv").stat().st_ctime - begun < 10
