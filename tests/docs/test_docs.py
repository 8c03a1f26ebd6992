"""The pages of docs/ are complete and true: links, commands, code, names, and the drawing of the imports."""

import inspect
import json
import operator
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from metalearn import controls
from metalearn.algorithms.parameters import MetaParameters
from metalearn.config.compose import compose
from metalearn.config.groups import asked
from metalearn.config.instantiate import call
from metalearn.config.quoting import quoted_words
from metalearn.search.parse import parse, split
from metalearn.training.outer_optimizer import OuterOptimizer
from tests.docs.pages import NAMES, blocks, commands, script, section
from tests.docs.test_layout import NOT_AS_IN_TORCH, NOT_PLAIN
from tests.helpers.configs import ROOT
from tests.helpers.folders import picture
from tests.helpers.training import trainer_of

SMALL = ("data.classes=[8,6,6]", "model.filters=4", "steps=2", "eval.tasks=2", "eval.test_tasks=2", "pictures=svg")
DOCS = ROOT / "docs"
FLAGS = {"-m", "--cfg", "job"}


def test_the_printed_schedules_can_be_made():
    part = section((DOCS / "algorithms" / "index.md").read_text(), "## Schedules of the outer learning rate")
    nodes = [compose(*quoted_words(words))["outer"] for words in commands(part)]
    for node in [*nodes, *map(yaml.safe_load, blocks(part, "yaml"))]:
        params = MetaParameters({"w": torch.zeros(1)}, {}, [])
        assert call(OuterOptimizer, node, "outer", params=params, steps=3000).lr > 0
    assert len(nodes) == 4


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.slow
def test_commands_compose(monkeypatch):
    """Every setting that a page sets exists. Sweeps and classes of the reader's own are composed, not run."""
    monkeypatch.setenv("METALEARN_DATA", "data")
    checked = set()
    for name in NAMES:
        for words in commands((ROOT / name).read_text()):
            if "--config-dir" in words:
                continue  # the reader's own files: see test_own_parts_work_as_printed
            if "--help" in words:
                assert words == ["--help"] or asked(words), words
                continue
            if any(word.startswith("search=") for word in words):
                compose_search([word for word in words if word not in FLAGS])
                continue
            swept = "-m" in words
            words = [w for w in words if w not in FLAGS and not w.startswith("hydra.")]
            words = tuple(w.partition(",")[0] if swept and "=[" not in w else w for w in words)
            if words not in checked:
                compose(*quoted_words(words))
                checked.add(words)
    assert len(checked) > 20


def compose_search(words):
    """Every setting that a search sets or varies exists."""
    fixed, searched = split(words)
    config = compose(*fixed)["search"]
    shared = [word for word in fixed if not word.startswith(("search", "+search"))]
    space = parse([*(f"{name}={value}" for name, value in config["space"].items()), *searched])
    for example in space.examples():
        compose(*shared, *example)
    controls.make_all(config["control"], "search.control")


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w/-]+\.md", text))
    assert listed == {str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")}


def test_every_algorithm_has_a_page_with_all_that_a_reader_asks():
    for file in (ROOT / "conf" / "algo").glob("[!_]*.yaml"):
        text = (DOCS / "algorithms" / f"{file.stem}.md").read_text()
        titles = re.findall(r"^## (.*)", text, re.MULTILINE)
        assert titles == ["Idea", "Equation", "Settings", "Command", "Result", "Differences from the paper"]
        assert any(f"algo={file.stem}" in words for words in commands(text))
        assert f"](../../metalearn/algorithms/{file.stem}.py)" in text
        assert f"`{file.stem}`]({file.stem}.md)" in (DOCS / "algorithms" / "index.md").read_text()


def test_every_control_and_data_set_is_described():
    text = (DOCS / "controls.md").read_text()
    assert [name for name in controls.ALL if not re.search(rf"`{name}(\(|`)", text)] == []
    text = (DOCS / "data.md").read_text()
    assert [f.stem for f in (ROOT / "conf" / "data").glob("[!_]*.yaml") if f"`{f.stem}" not in text] == []


def test_the_default_controls_are_as_printed():
    (shown,) = blocks((DOCS / "controls.md").read_text(), "yaml")
    conf = yaml.safe_load((ROOT / "conf" / "control" / "steps.yaml").read_text())
    assert yaml.safe_load(shown)["cycle"] == conf["cycle"]


def test_tests_that_are_named_exist():
    text = (DOCS / "resuming.md").read_text()
    for name in set(re.findall(r"test_\w+\.py", text)):
        assert list((ROOT / "tests").rglob(name)), name


@pytest.mark.slow
def test_the_tutorial_works_as_printed(tmp_path, typed, monkeypatch):
    """With a smaller learner, and every command but the ones of "Change something"."""
    text = (DOCS / "tutorial.md").read_text()
    train = commands(text)[0]
    done = typed(*train, *SMALL)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code in blocks(text, "python"):
        code = code.replace('dataset("glyphs")', 'dataset("glyphs", classes=[8, 6, 6])')
        code = code.replace('"steps=200"', ", ".join(map(repr, SMALL))).replace("tasks=100", "tasks=4")
        exec(code, names)
    assert set(names["classifier"].classes) == {"ka", "kha", "ga", "gha", "nga"}
    assert names["images"].shape == (5, 1, 28, 28) and 0 <= names["images"].min() <= names["images"].max() <= 1
    assert len(names["classifier"].predict(names["queries"])) == 15 and names["step"] == 1
    assert names["run"].folder == Path("runs/second") and 0 <= names["run"].score <= 1
    (words,) = commands(text, "metalearn.evaluate")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "metalearn.evaluate", *words, "tasks=4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "runs" / "first" / "evaluations").glob("*/result.json"))


@pytest.mark.parametrize(
    ("title", "number"),
    [
        pytest.param("## A model", 0, marks=pytest.mark.slow),
        pytest.param("## A model", 1, marks=pytest.mark.slow),
        pytest.param("## A model", 2, marks=pytest.mark.slow),
        pytest.param("## A data set", 0, marks=pytest.mark.slow),
        pytest.param("## An algorithm", 0, marks=pytest.mark.slow),  # the README has one too
        pytest.param("## A control", 0, marks=pytest.mark.slow),
    ],
)
def test_own_parts_work_as_printed(title, number, tmp_path, typed):
    part = section((DOCS / "extending.md").read_text(), title)
    codes = blocks(part, "python")
    used = [code for code in codes if code.startswith("import metalearn\n")]
    package = "\n".join(code for code in codes if code not in used)
    (tmp_path / "mypackage.py").write_text(package)
    if number == 1:
        exec("\n".join([package, *used]), {})
    for file, content in zip(
        re.findall(r"`(my\w+/\w+/\w+\.yaml)`:$", part, re.MULTILINE), blocks(part, "yaml"), strict=True
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    words = commands(part)[number]
    small = [w for w in SMALL if not w.startswith("model.") or "model=" not in " ".join(words)]
    small = [w for w in small if not w.startswith("data.") or "data=glyphs" in words]
    done = typed(*words, *small, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()


def test_a_control_with_a_counter_survives_a_resume_as_printed():
    names: dict = {}
    exec("\n".join(blocks(section((DOCS / "extending.md").read_text(), "## A control"), "python")), names)
    run = SimpleNamespace(model=SimpleNamespace(values={"grad_norm": 2.0}))
    stopped, resumed = (names["Spikes"](n=3, limit=1.0) for _ in range(2))
    assert stopped.apply(run) is None and stopped.apply(run) is None
    resumed.restore(json.loads(json.dumps(stopped.state())))
    assert resumed.apply(run) == "3 cycles with grad_norm above 1.0"


def test_the_attributes_of_a_control_exist(tmp_path):
    from metalearn.controls import make_all
    from metalearn.controls.loop import Control, ControlLoop

    part = section((DOCS / "extending.md").read_text(), "## A control")
    trainer = trainer_of(tmp_path / "run", limit=2, log_every=1)
    run = ControlLoop(trainer, make_all({"Step": {"n": 1}}))
    named = set(re.findall(r"`run\.([\w.]+)", part))
    assert len(named) >= 10
    for path in named:
        operator.attrgetter(path)(run)
    assert all(hasattr(Control, name) for name in ("tick", "check", "retrains", "state", "restore"))


@pytest.mark.slow
def test_own_images_with_a_table_work_as_printed(tmp_path, typed):
    part = section((DOCS / "data.md").read_text(), "## Your own images")
    (table,), (settings,), (words,) = blocks(part, "csv"), blocks(part, "yaml"), commands(part)
    head, *rows = table.splitlines()
    for row in rows:  # of each class printed, two with eight images each
        name, label, split = row.split(",")
        for number in range(16):
            file = name.replace(".jpg", f"_{number}.jpg")
            picture(tmp_path / "birds" / file)
            head += f"\n{file},{label}{number % 2},{split}"
    (tmp_path / "birds" / "birds.csv").write_text(head + "\n")
    (tmp_path / "mydata" / "data").mkdir(parents=True)
    (tmp_path / "mydata" / "data" / "birds.yaml").write_text(settings)
    small = ("data.size=16", "model.filters=4", "steps=1", "way=2", "query=2", "eval.tasks=2", "eval.test_tasks=2")
    done = typed(*words, *small, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["data"], result["split"]) == ("birds", "birds.csv")


def test_extras_are_installed_in_one_way_from_a_clone():
    """The package is on no registry, so that its name cannot be installed."""
    extras = section((ROOT / "pyproject.toml").read_text().replace("\n[", "\n# "), "# project.optional-dependencies")
    files = [
        *(ROOT / name for name in NAMES),
        *ROOT.glob("metalearn/**/*.py"),
        *ROOT.glob("hydra_plugins/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
    ]
    found = [name for file in files for name in re.findall(r"pip install\s+['\"](.*?)\[(\w+)\]", file.read_text())]
    assert (
        len(found) >= 8
        and {place for place, _ in found} == {"."}
        and {extra for _, extra in found} <= set(re.findall(r"^(\w+) = ", extras, re.MULTILINE))
    )


def test_folders_import_downwards_and_the_drawing_shows_it():
    draw = script("docs/draw_imports.py")
    assert draw.unknown() == set() and draw.upward() == []
    assert draw.drawing() == draw.DRAWING.read_text(), "python docs/draw_imports.py"


def test_the_reference_names_modules_that_exist():
    import importlib.util

    for name in re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        found = importlib.util.find_spec(name) if attribute.islower() and _is_package(module) else None
        assert found or hasattr(importlib.import_module(module), attribute), name


def _is_package(name: str) -> bool:
    import importlib.util

    spec = importlib.util.find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, reason="needs pip install '.[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "tutorial" / "index.html").exists()


WORDS = [*NAMES, "CHANGELOG.md", "data/README.md"]


@pytest.mark.parametrize("name", WORDS)
def test_words_are_plain(name):
    text = (ROOT / name).read_text()
    text = re.sub(r"<!-- table settings.*?<!-- end -->", "", text, flags=re.DOTALL)  # held in conf/ and docstrings
    assert not re.findall(NOT_PLAIN, text) and not re.findall(NOT_AS_IN_TORCH, text)


@pytest.mark.parametrize("folder", [".", "docs", "docs/algorithms", ".github", ".github/workflows"])
def test_no_page_names_a_path_of_one_machine(folder):
    files = [
        *(ROOT / folder).glob("*.md"),
        *(ROOT / folder).glob("*.y*ml"),
        *(ROOT / folder).glob("*.py"),
        *(ROOT / folder).glob("*.svg"),
    ]
    assert [f.name for f in files if re.search(r"/(home|work|Users|root|tmp)/\w", f.read_text())] == []


def test_the_walk_to_the_meta_step_is_the_one_that_is_written(tmp_path, monkeypatch):
    """Compare the table with the calls on the stack in the first forward pass that has second derivatives."""
    from metalearn.models.conv4 import Conv4
    from metalearn.run import main

    part = section((DOCS / "architecture.md").read_text(), "## From the command line to the meta-step")
    written = re.findall(r"^\| `([\w/]+\.py)` \| `(\w+)`", part, re.MULTILINE)
    stacks, forward = [], Conv4.forward

    def watched(self, *args, **kwargs):
        frames = [(frame.filename, frame.function) for frame in reversed(inspect.stack(0))]
        stacks.append([(f.rpartition("/metalearn/")[2], name) for f, name in frames if "/metalearn/" in f])
        stacks[-1].append(("models/conv4.py", "forward"))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Conv4, "forward", watched)
    main(compose("algo=maml", "data=glyphs", *SMALL, "eval.every=2"), tmp_path / "run")
    first = next(stack for stack in stacks if ("inner/unroll.py", "unroll") in stack)  # not that of the check
    calls = iter(first)
    assert len(written) >= 10
    for step in written:
        assert step in calls, f"{step} is not called below the lines before it: {first}"


def test_the_order_of_folders_is_the_one_that_the_linter_checks():
    text = (ROOT / "pyproject.toml").read_text()
    layers = re.findall(r'"([\w |]+)"', re.search(r"\nlayers = \[(.*?)\]", text, re.DOTALL)[1])
    assert [layer.replace(" | ", ", ") for layer in layers] == list(script("docs/draw_imports.py").ORDER)


def test_the_derivation_of_the_kernels_is_right():
    """Equations 14 to 24 of docs/kernels.md, as they are written, against autograd."""
    import torch

    torch.manual_seed(0)
    n, eps = 12, 1e-3
    x, d, u = (torch.randn(n, dtype=torch.float64, requires_grad=True) for _ in range(3))
    w, b, a, c = (torch.randn((), dtype=torch.float64, requires_grad=True) for _ in range(4))
    s = (x.var(correction=0) + eps) ** -0.5
    xh = (x - x.mean()) * s
    y = (w * xh + b).relu()
    g_x, g_w, g_b = torch.autograd.grad(y, (x, w, b), d, create_graph=True)
    by_d, by_w, by_x = torch.autograd.grad((u * g_x).sum() + a * g_w + c * g_b, (d, w, x))
    with torch.no_grad():
        g = d * (y > 0)
        assert torch.allclose(g_b, g.sum()) and torch.allclose(g_w, (g * xh).sum())  # 12, 13
        assert torch.allclose(g_x, w * s * (g - g_b / n - xh * g_w / n))  # 14
        big_u, v = u.sum(), (u * xh).sum()
        p = (u * g).sum() - (g_b * big_u + g_w * v) / n  # 16
        assert torch.allclose(by_w, s * p)  # 18
        by_g = w * s * (u - big_u / n - xh * v / n) + a * xh + c  # 19
        assert torch.allclose(by_d, by_g * (y > 0))  # 20
        q = (a - w * s * v / n) * g - (w * s * g_w / n) * u  # 21
        sum_q = (a - w * s * v / n) * g_b - (w * s * g_w / n) * big_u  # 23
        sum_qx = (a - w * s * v / n) * g_w - (w * s * g_w / n) * v  # 24
        assert torch.allclose(sum_q, q.sum()) and torch.allclose(sum_qx, (q * xh).sum())
        assert torch.allclose(by_x, s * (q - sum_q / n - xh * sum_qx / n - xh * w * s * p / n))  # 22
