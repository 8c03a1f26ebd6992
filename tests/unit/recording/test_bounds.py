"""A checkpoint that asks for more than its file holds, or lacks a part, is one line; nothing large is computed."""

import io
import json
import resource
import zipfile

import pytest
import torch

import metalearn
from metalearn.config import groups
from metalearn.learner.spec import algorithm_of, shapes
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ALGORITHMS, NO_HIGHER, SINUSOID, config, every
from tests.helpers.processes import refused

GIGABYTES = 6 * 2**30


@pytest.fixture
def little_memory():
    """A limit on the address space, so that a test that fails harms nobody."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def shared(levels):
    value = [0]
    for _ in range(levels):
        value = [value, value]
    return value


def endless():
    value = []
    value.append(value)
    return value


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


HUGE = {
    "a tensor of stride 0": lambda: torch.zeros(1).expand(10**10),
    "a small tensor a million times": lambda: [torch.zeros(10**5)] * 10**4,
    "a tensor on no device": lambda: torch.empty(10**10, device="meta"),
    "a sparse tensor": lambda: torch.sparse_coo_tensor([[0]], [1.0], (10**10,), check_invariants=False),
    "lists that share their parts": lambda: shared(60),
    "a list in itself": endless,
    "lists in lists": lambda: deep(300),
    "a number of many digits": lambda: 10**5000,
    "a set": lambda: {1, 2},
    "bytes to come": lambda: bytearray(5),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_file_that_asks_for_more_than_it_holds(kind, tmp_path, little_memory):
    torch.save(
        {"format": checkpoint.FORMAT, "params": {}, "spec": {}, "step": 0, "x": HUGE[kind](), "digest": ""},
        tmp_path / "x.pt",
    )
    with pytest.raises(UserError, match=r"x\.pt: damaged, or not a checkpoint of metalearn$"):
        metalearn.load(tmp_path / "x.pt")


def rewritten(path, method=zipfile.ZIP_STORED, twice=False):
    """The same archive, packed in another way."""
    source, target = zipfile.ZipFile(io.BytesIO(path.read_bytes())), io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        for name in source.namelist():
            file.writestr(name, source.read(name))
            if twice and name.endswith("data.pkl"):
                file.writestr(name.replace("data.pkl", "more/data.pkl"), source.read(name))
    path.write_bytes(target.getvalue())


@pytest.mark.parametrize("how", [{"method": zipfile.ZIP_DEFLATED}, {"twice": True}])
def test_an_archive_that_is_not_ours(stopped, how):
    path = stopped / "checkpoints" / "last.pt"
    rewritten(path)
    metalearn.load(path)
    rewritten(path, **how)
    with pytest.raises(UserError, match="damaged, or not a checkpoint"):
        metalearn.load(path)


ABSENT = object()
SPECS = {
    "no spec": ("spec", ABSENT),
    "a spec that is a list": ("spec", [1]),
    "no params": ("params", ABSENT),
    "params that are a list": ("params", [torch.zeros(1)]),
    "no way": ("spec.way", ABSENT),
    "way 0": ("spec.way", 0),
    "a million million ways": ("spec.outputs", 10**12),
    "a huge layer": ("spec.model.hidden", [10**9, 10**9]),
    "a layer beyond 64 bits of memory": ("spec.model.hidden", [2**62, 2**62]),
    "many layers": ("spec.model.hidden", [1] * 10**5),
    "another layer": ("spec.model.hidden", [40, 41]),
    "a shape of texts": ("spec.shape", ["1"]),
    "a negative shape": ("spec.shape", [-1]),
    "no algorithm": ("spec.algo", {}),
    "an algorithm that is a text": ("spec.algo", "maml"),
    "steps for ever": ("spec.algo.inner_steps_test", 10**12),
    "an unknown norm": ("spec.norm", "batch"),
    "a seed that is none": ("spec.seed", -1),
}


@pytest.mark.parametrize("kind", SPECS)
def test_a_spec_that_does_not_fit(kind, stopped, little_memory):
    path = stopped / "checkpoints" / "last.pt"
    where, value = SPECS[kind]
    content = checkpoint.read(path)
    *parts, last = where.split(".")
    node = content
    for part in parts:
        node = node[part]
    node.pop(last) if value is ABSENT else node.update({last: value})
    path.write_bytes(checkpoint.pack({key: value for key, value in content.items() if key != "format"}))
    with pytest.raises(UserError, match=r"last\.pt: ") as error:
        metalearn.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "where",
    [
        "trainer.optimizer",
        "trainer.selection.best",
        "trainer.tables",
        "trainer.random",
        "trainer",
        "controls",
        "first",
        "environment",
    ],
)
def test_a_state_that_lacks_a_part_is_one_line(where, stopped):
    path = stopped / "checkpoints" / "last.pt"
    content = checkpoint.read(path)
    *groups, last = where.split(".")
    node = content["state"]
    for group in groups:
        node = node[group]
    del node[last]
    path.write_bytes(checkpoint.pack({key: value for key, value in content.items() if key != "format"}))
    with pytest.raises(UserError, match="damaged, or of another run"):
        train(config(*SINUSOID, f"resume={stopped}"), stopped)


def test_a_checkpoint_of_another_model_is_not_resumed(stopped):
    path = stopped / "checkpoints" / "last.pt"
    content = checkpoint.read(path)
    content["params"]["model"]["layers.0.weight"] = content["params"]["model"]["layers.0.weight"][:1].clone()
    path.write_bytes(checkpoint.pack({key: value for key, value in content.items() if key != "format"}))
    with pytest.raises(UserError, match="other names or shapes"):
        train(config(*SINUSOID, f"resume={stopped}"), stopped)


@pytest.mark.parametrize("content", every(3, [" " * 2**27, "[" * 10**6, '{"config": {}, "overrides": [1, 2]}']))
def test_a_config_that_is_huge_or_deep(content, stopped, typed):
    values = json.loads((stopped / "config.json").read_text())
    if content.startswith("{"):
        content = json.dumps(values | {"overrides": [1, 2]})
    (stopped / "config.json").write_text(content)
    refused(typed(f"resume={stopped}"), "config.json: damaged: this run cannot be resumed")


@pytest.mark.slow
def test_every_algorithm_is_restored_on_no_device(tmp_path):
    """The shapes of a spec are found without memory, whatever the algorithm and the norm."""
    for algo in ALGORITHMS:
        for words in (["data=sinusoid"], ["model=conv4", "norm=per_step"], ["engine.inner_loop=higher"]):
            sinusoid = "data=sinusoid" in words
            if sinusoid and f"sinusoid_{algo}" not in groups.choices("data_algo"):  # it needs classes
                continue
            if "engine.inner_loop=higher" in words and algo in NO_HIGHER:
                continue
            values = config(f"algo={algo}", *words)
            spec = {"name": algo, "algo": values["algo"], "model": values["model"],
                    "engine": values["engine"], "regression": sinusoid, "data": "x",
                    "shape": [1] if sinusoid else [1, 28, 28], "outputs": 1 if sinusoid else 5, "labels": None if sinusoid else 20,
                    "invert": False, **{n: values[n] for n in ("way", "shot", "query", "norm", "seed")}}  # fmt: skip
            made = algorithm_of(spec)
            assert shapes(spec) == made.init().shapes(), (algo, words)
