"""The one contract that every algorithm keeps: it runs through each file of conf/algo."""

import csv
import json

import numpy as np
import pytest
import torch

import metalearn
from metalearn.algorithms.base import Algorithm
from metalearn.algorithms.parameters import nth
from metalearn.config.locate import locate
from metalearn.training.executor import Executor
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.helpers.configs import ALGORITHMS, QUICK, ROOT, every, small
from tests.helpers.tasks import algorithm, batch_for, batch_of, params_of

RESULT = (
    "algo data split way shot query inner_steps_train inner_steps_test norm_mode steps seed device params "
    "val_accuracy test_accuracy test_ci95 test_tasks adaptation_curve train_seconds "
    "torch_version git_commit"
).split()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_adaptation_starts_at_the_meta_parameters_and_moves(name):
    algo, batch = algorithm(name), batch_of()
    params = params_of(algo)
    path = [nth(algo.adapt(params, batch.support_x, batch.support_y), n) for n in range(3)]
    assert [adapted.step for adapted in path] == [0, 1, 2]
    for key, value in path[0].weights.items():
        torch.testing.assert_close(value, params.model[key].expand_as(value))
    assert any((value != path[2].weights[key]).any() for key, value in path[0].weights.items())
    assert algo.predict(path[2], batch.query_x).shape == (3, 6, 3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_adaptation_lowers_the_support_loss(name):
    algo, batch = algorithm(name, inner_optimizer={"name": "SGD", "lr": 0.05}), batch_of()
    params = params_of(algo)
    losses = [
        algo.objective.loss(
            algo.predict(nth(algo.adapt(params, batch.support_x, batch.support_y), n), batch.support_x), batch.support_y
        ).mean()
        for n in (0, 10)
    ]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_meta_gradient_covers_every_parameter_and_is_a_pure_function(name):
    algo, batch = algorithm(name), batch_for(name)
    params = params_of(algo)
    before = params.map(torch.clone)
    a, b = algo.meta_gradient(params, batch), algo.meta_gradient(params, batch)
    assert set(a.gradients) == set(params.learned)
    for key, gradient in a.gradients.items():
        assert gradient.shape == params.learned[key].shape and gradient.isfinite().all()
        assert torch.equal(gradient, b.gradients[key]) and torch.equal(params.learned[key], before.learned[key])
    assert {"loss", "accuracy"} == set(a.metrics) and a.metrics["loss"].ndim == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_unknown_engine_or_setting_is_refused(name):
    with pytest.raises(
        metalearn.runtime.errors.UserError, match=r"engine\.kernel=magic: must be auto or grouped or vmap"
    ):
        algorithm(name, kernel="magic")
    with pytest.raises(metalearn.runtime.errors.UserError, match=r"algo\.meta_batch=0: must be at least 1"):
        algorithm(name, meta_batch=0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_names_its_paper(name):
    text = (ROOT / "conf" / "algo" / f"{name}.yaml").read_text()
    target = next(line.split()[-1] for line in text.splitlines() if "_target_" in line)
    assert "arxiv.org" in text and "arxiv.org" in locate(target, "algo", Algorithm).__doc__
    assert issubclass(locate(target, "algo", Algorithm), Algorithm)


@pytest.mark.parametrize("name", every(len(ALGORITHMS), ALGORITHMS))
def test_the_command_line_leaves_a_complete_record(name, typed, tmp_path):
    drawn = name == ALGORITHMS[0]  # pictures take longer than all the rest
    done = typed(*QUICK, *small(name), "hydra.run.dir=out", pictures=drawn)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    for file in ("metrics.csv", "result.json", "checkpoints/last.pt", "checkpoints/best.pt", ".hydra/config.yaml",
                 ".hydra/overrides.yaml", *(("curves.png", "tasks.png") if drawn else ())):  # fmt: skip
        assert (out / file).stat().st_size > 0, file
    result = json.loads((out / "result.json").read_text())
    assert not [key for key in RESULT if key not in result]
    assert result["algo"] == name and result["data"] == "glyphs" and result["test_tasks"] == 6
    assert len(result["adaptation_curve"]) == 3 and result["adaptation_curve"][-1] == result["test_accuracy"]
    unit = algorithm(name).unit
    assert [key for key in result if key.endswith("_per_second")] == [f"{unit}_per_second"]
    assert (out / "timing.csv").read_text().startswith(f"step,{unit}_per_second,") and f" {unit}/s" in done.stdout
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["val_accuracy"]) for row in rows] == [False, True, True]
    learner = metalearn.load(out)
    x, y = np.random.default_rng(0).random((5, 28, 28)), list("abcde")
    assert learner.adapt(x, y).predict_proba(x).shape == (5, 5)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "words", ["device=cuda", "device=cuda:0 engine.cuda_graph=true", "device=auto engine.precision=bf16"]
)
def test_the_command_line_trains_on_cuda(words, typed):
    done = typed(*QUICK, *words.split())
    assert done.returncode == 0 and " on cuda" in done.stdout, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["vmap", "grouped"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_cuda_equals_the_cpu(name, engine):
    algo, batch = algorithm(name, kernel=engine, filters=27), batch_for(name)
    params = params_of(algo)
    on_cpu = algo.meta_gradient(params, batch).gradients
    moved = type(batch)(*(field.cuda() for field in batch))
    on_gpu = algo.meta_gradient(params.map(lambda value: value.cuda()), moved).gradients
    for key, gradient in on_cpu.items():
        torch.testing.assert_close(on_gpu[key].cpu(), gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["transductive", "per_step"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_captured_graph_learns_the_same(name, norm, small_glyphs):
    from metalearn.training.cuda_graph import CudaGraphed

    source = small_glyphs.source("train", 0, "cuda")
    learned = []
    for captured in (False, True):
        algo = algorithm(name, norm=norm, shape=(1, 28, 28), labels=source.labels)
        params = params_of(algo, torch.float32).map(lambda value: value.cuda())
        outer = OuterOptimizer(
            optimizer={"name": "SGD", "lr": 0.1}, schedule="cosine", warmup=0, clip=None, params=params, steps=4
        )
        gradient = CudaGraphed(algo.meta_gradient) if captured else algo.meta_gradient
        losses = []
        for step in range(4):
            result = gradient(outer.params, algo.sample(source, step, "cuda"))
            outer.step(result)
            losses.append(result.metrics["loss"])
        learned.append({**outer.params.learned, "losses": torch.stack(losses)})
    for key, value in learned[0].items():
        torch.testing.assert_close(learned[1][key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.gpu
def test_tasks_too_many_for_a_small_share_of_the_gpu_are_halved():
    algo = algorithm("maml", filters=64, shape=(1, 28, 28), way=5, shot=1, query=15)
    params = params_of(algo, torch.float32).map(lambda value: value.cuda())
    batch = batch_of(tasks=256, way=5, shot=1, query=15, shape=(1, 28, 28), dtype=torch.float32)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2 * 2**30 / torch.cuda.get_device_properties(0).total_memory)
    try:
        executor = Executor(algo, "cuda")
        executor(params, type(batch)(*(field.cuda() for field in batch)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert executor.chunks.size is not None and executor.chunks.size < 256


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "least"), [("tf32", 0.98), ("bf16", 0.85)])  # bf16: 0.92 on an H200
def test_other_precisions_point_the_same_way_on_cuda(precision, least):
    from metalearn.runtime.device import precision_context

    algo, batch = algorithm("maml"), batch_of(dtype=torch.float32)
    params = params_of(algo, torch.float32).map(lambda value: value.cuda())
    batch = type(batch)(*(field.cuda() for field in batch))
    found = []
    for name in ("float32", precision):
        with precision_context(name, "cuda"):
            gradients = algo.meta_gradient(params, batch).gradients
        found.append(torch.cat([g.flatten().float() for g in gradients.values()]))
    assert torch.cosine_similarity(*found, 0) > least


@pytest.mark.gpu
@pytest.mark.parametrize("norm", ["transductive", "support", "per_step"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_step_on_cuda_waits_for_nothing(name, norm, small_glyphs):
    source = small_glyphs.source("train", 0, "cuda")
    algo = algorithm(name, norm=norm, shape=(1, 28, 28), labels=source.labels)
    params = params_of(algo, torch.float32).map(lambda value: value.cuda())
    outer = OuterOptimizer(
        optimizer={"name": "Adam", "lr": 0.001}, schedule="cosine", warmup=0, clip=1.0, params=params, steps=3
    )
    outer.step(algo.meta_gradient(outer.params, algo.sample(source, 0, "cuda")))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        outer.step(algo.meta_gradient(outer.params, algo.sample(source, 1, "cuda")))
    finally:
        torch.cuda.set_sync_debug_mode("default")
