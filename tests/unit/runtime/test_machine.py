"""What a run costs: memory, start-up; what it does when memory runs out; and how a slow step is found."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from metalearn.errors import UserError
from metalearn.runtime.device import precision_context
from metalearn.training.chunks import Chunks
from metalearn.training.evaluate import evaluate
from metalearn.training.executor import Executor
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.configs import QUICK, ROOT
from tests.helpers.tasks import algorithm, batch_of, close, params_of


@pytest.mark.parametrize(
    "optimizer",
    [{"name": "SGD", "lr": 0.1, "momentum": 0.9}, {"name": "Adam", "lr": 0.05, "betas": [0.5, 0.9], "eps": 1e-2}],
)
@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("adapt_norm, filters", [(True, 4), (False, 4), (True, 27)])
def test_recomputing_gives_the_gradient_of_keeping(optimizer, steps, adapt_norm, filters):
    settings = {"inner_steps": steps, "inner_optimizer": optimizer, "adapt_norm": adapt_norm, "filters": filters}
    kept, again = (algorithm("maml", recompute=recompute, **settings) for recompute in (False, True))
    params, batch = params_of(kept), batch_of()
    assert again.recomputes and not kept.recomputes
    close(again.meta_gradient(params, batch).gradients, kept.meta_gradient(params, batch).gradients)


def test_long_inner_loops_recompute_by_themselves_where_they_can():
    assert not algorithm("maml", inner_steps=10).recomputes and algorithm("maml", inner_steps=11).recomputes
    for name, settings in (("fomaml", {}), ("anil", {}), ("reptile", {}), ("maml", {"norm": "per_step"})):
        assert not algorithm(name, inner_steps=50, **settings).recomputes
    with pytest.raises(UserError, match="MAML cannot recompute with norm=per_step"):
        algorithm("maml", norm="per_step", recompute=True)


PEAK = """
import re, sys
from metalearn.runtime.device import keep_freed_memory
from tests.helpers.tasks import algorithm, batch_of, params_of
import torch
keep_freed_memory()
steps, recompute = int(sys.argv[1]), {"null": None, "false": False}[sys.argv[2]]
algo = algorithm("maml", filters=32, shape=(1, 28, 28), way=5, shot=1, query=1, inner_steps=steps, recompute=recompute)
batch, params = batch_of(tasks=8, way=5, shot=1, query=1, shape=(1, 28, 28), dtype=torch.float32), algo.init()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
algo.meta_gradient(params, batch)
print(peak() - before)
"""


def peak(*words):
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PEAK, *words], env=environ, text=True, capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.integration
def test_fifty_inner_steps_need_less_than_twice_the_memory_of_five():
    assert peak("50", "null") < 2 * peak("5", "null") < peak("50", "false")


@pytest.mark.slow
def test_memory_is_flat_over_thousands_of_steps():
    algo = algorithm("maml", filters=2, shape=(1, 4, 4), way=2, shot=1, query=1)
    params = algo.init()
    outer = OuterOptimizer(
        optimizer={"name": "Adam", "lr": 0.003}, schedule="cosine", warmup=0, clip=None, params=params, steps=4000
    )
    batch = batch_of(tasks=1, way=2, shot=1, query=1, shape=(1, 4, 4), dtype=torch.float32)
    resident = []
    for step in range(2100):
        outer.step(algo.meta_gradient(outer.params, batch))
        if step % 700 == 699:
            with open("/proc/self/statm") as file:
                resident.append(int(file.read().split()[1]) * 4096 / 2**20)
    assert resident[-1] - resident[0] < 4, resident  # MB over 1,400 steps


def test_too_many_tasks_at_once_are_halved_and_said(monkeypatch, capsys):
    algo, whole, batch = algorithm("maml", chunk=8), algorithm("maml"), batch_of(tasks=7)
    inner, sizes = algo.task_gradients, []

    def small(params, piece):
        sizes.append(len(piece.support_x))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(params, piece)

    monkeypatch.setattr(algo, "task_gradients", small)
    params, executor = params_of(algo), Executor(algo, "cpu")
    close(executor(params, batch).gradients, whole.meta_gradient(params, batch).gradients)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1] and executor.chunks.size == 1
    assert "out of memory with 7 tasks at once; from now on 3" in capsys.readouterr().out
    monkeypatch.setattr(algo, "task_gradients", lambda params, piece: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(UserError, match="one task alone"):
        executor(params, batch)


def test_an_evaluation_too_large_is_halved_and_scores_the_same(monkeypatch, small_glyphs):
    source = small_glyphs.source("test", 0, "cpu")
    algo, whole = (algorithm("maml", shape=(1, 28, 28), way=5, shot=1, chunk=8) for _ in range(2))
    inner = algo.adapt

    def small(params, x, y, training=False):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(params, x, y, training)

    monkeypatch.setattr(algo, "adapt", small)
    params, common = algo.init(), {"tasks": 9, "way": 5, "shot": 1, "query": 2, "device": "cpu", "curve": True}
    chunks = Chunks(algo)
    a = evaluate(algo, params, source, chunks=chunks, **common)
    b = evaluate(whole, params, source, **common)
    assert (a.curve, a.confused, chunks.size) == (b.curve, b.confused, 2)


@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
def test_bfloat16_points_the_same_way(norm):
    batch = batch_of(dtype=torch.float32)
    algo = algorithm("maml", norm=norm)
    params = algo.init()
    exact = algo.meta_gradient(params, batch).gradients
    with precision_context("bf16", "cpu"):
        rough = algo.meta_gradient(params, batch).gradients
    a, b = (torch.cat([g.flatten().float() for g in gs.values()]) for gs in (exact, rough))
    assert not torch.equal(a, b) and torch.cosine_similarity(a, b, 0) > 0.98


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_profile_is_a_trace_and_ten_lines(steps, typed, tmp_path):
    done = typed(
        *[w for w in QUICK if not w.startswith("steps=")], f"steps={steps}", "profile=true", "hydra.run.dir=out"
    )
    assert done.returncode == 0, done.stderr
    if steps == 1:
        assert "too few to trace" in done.stdout and not (tmp_path / "out" / "trace.json").exists()
        return
    assert f"the top ten of {min(5, steps - 1)} meta-steps" in done.stdout and "aten::" in done.stdout
    events = json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
    assert any("convolution" in event.get("name", "") for event in events)


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
