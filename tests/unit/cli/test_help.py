"""Help for one choice, and answers to the names that users of other libraries type."""

import subprocess
import sys

import pytest

from metalearn.cli import choices
from metalearn.config import groups
from tests.helpers.configs import ROOT, every
from tests.helpers.processes import refused

GROUPS = {
    "algo=anil": ["algo.meta_batch=16", "tasks (or single examples) in a meta-step", "algo.inner_optimizer={name: SGD, lr: 0.4}",
                  "Raghu et al. 2020", "steps=3000", "query=1"],
    "algo=reptile": ["algo.train_shot=10", "eval.query=5"],
    "data=auto": ["data.root=", "data.glyphs.classes=[600, 100, 200]", "omniglot-py"],
    "data=folder": ["data.crop=0 pad training images by this many pixels on each side and crop at random",
                    "or FILE.csv with image,class,split; or published: the root must have a split"],
    "data=sinusoid": ["model=mlp", "data.amplitude=[0.1, 5.0]", "algo.inner_optimizer.lr=0.01"],
    "model=conv4": ["model.filters=64", "channels of each block"],
    "outer=adam": ["outer.optimizer={name: Adam, lr: 0.003}", "outer.schedule=cosine", "outer.clip=null",
                   "outer.weight_decay=0.001"],
    "control=early_stopping": ["control.cycle.NumberSinceBest.n=6", "control.cycle.Save.seconds=60.0", "InvalidValue",
                               "Patience", "PQ", "limit of the quotient"],
    "tracker=wandb": ["project=metalearn", "entity=null user or team"],
    "experiment=omniglot/maml_5w1s": ["steps=60000", "algo.reduction=shot_mean", "divides by the shots"],
}  # fmt: skip


@pytest.mark.parametrize("word", GROUPS)
def test_a_choice_explains_its_settings(word, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    ((group, file),) = groups.asked(["--help", word, "way=5"])
    text = choices.explain(group, file)
    for part in GROUPS[word]:
        assert part in " ".join(text.split()), (part, text)


def test_help_is_shown_before_the_heavy_imports():
    code = (
        "import runpy, sys; sys.argv = ['metalearn', '--help']\n"
        "try: runpy.run_module('metalearn.run', run_name='__main__')\n"
        "finally: print({'torch', 'torchvision', 'matplotlib', 'numpy', 'optuna', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\nset()\n"), done.stdout[-200:] + done.stderr
    assert "Usage: python -m metalearn.run" in done.stdout


def test_every_choice_can_be_explained():
    for file in (ROOT / "conf").rglob("*/*.yaml"):
        group = file.relative_to(ROOT / "conf").parts[0]
        if group != "hydra":
            assert choices.explain(group, file).startswith(f"{group}=")


def test_the_overview_lists_choices_alone(tmp_path):
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "own.yaml").write_text("x: 3\n")
    lines = choices.overview(["--help", f"--config-dir={tmp_path}"]).splitlines()
    groups = dict(line.split(": ") for line in lines)
    assert {"algo", "control", "data", "experiment", "model", "outer", "tracker"} <= set(groups)
    assert not {"budget", "task", "data_algo", "hydra"} & set(groups)
    assert {"own", "maml"} <= set(groups["algo"].split(", "))
    assert "omniglot/maml_5w1s" in groups["experiment"] and "/_" not in groups["experiment"]


def test_help_of_several_choices_and_of_ones_own(typed, tmp_path):
    (tmp_path / "mine" / "algo").mkdir(parents=True)
    (tmp_path / "mine" / "algo" / "own.yaml").write_text("# My own\nx: 3  # what x is\n")
    done = typed("--help", "algo=maml,own", "outer=sgd", "--config-dir=mine")
    assert done.returncode == 0 and not done.stderr
    for part in ("algo=maml", "algo.adapt_norm=true", "algo.x=3", "what x is", "outer=sgd", "outer.schedule=linear"):
        assert part in done.stdout
    refused(typed("--help", "algo=nope"), "algo=nope: no such choice; there are anil, ")


@pytest.mark.parametrize("first", ["from metalearn.algorithms.maml import MAML as Base", "from metalearn.algorithms import maml",
                                   "import metalearn.algorithms.maml as maml"])  # fmt: skip
def test_inherited_settings_of_an_own_class_are_explained(first, typed, tmp_path):
    base = "Base" if "Base" in first else "maml.MAML"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").write_text("from .mine import Mine\n")
    (tmp_path / "own" / "mine.py").write_text(
        f'{first}\n\n\nclass Mine({base}):\n    """Mine."""\n\n    last: int = 3  # layers\n'
    )
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("# My own\n_target_: own.Mine\nmeta_batch: 4\n")
    text = " ".join(typed("--help", "algo=mine", "--config-dir=conf").stdout.split())
    for part in ("algo.meta_batch=4 tasks (or single examples) in a meta-step", "+algo.last=3 layers",
                 "+algo.inner_steps= a value is needed: inner-loop steps in meta-training",
                 "+algo.reduction=mean of the inner loss", "+algo.adapt_norm=true ",
                 "+algo.inner_optimizer={name: SGD, lr: 0.1}"):  # fmt: skip
        assert part in text, (part, text)
    assert "algo.way" not in text and "algo.model" not in text


@pytest.mark.parametrize("columns", ["60", "80", "100"])
def test_no_name_is_broken_over_two_lines(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    text = choices.explain(*groups.asked(["algo=anil"])[0])
    assert "metalearn.inner.unroll.make_inner_loop" in text


def test_help_of_a_choice_imports_nothing_heavy():
    code = "import sys; sys.argv = ['x', '--help', 'algo=anil', 'control=steps']\nfrom metalearn.run import cli\n"
    code += "try: cli()\nfinally: print(sorted({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "algo.meta_batch=16" in done.stdout


@pytest.mark.parametrize("words", every(3, ["--help", "--help control=steps", "--cfg job"]))
def test_help_into_a_closed_pipe(words):
    line = f"{sys.executable} -m metalearn.run {words} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "" and len(done.stdout.splitlines()) == 1


ELSEWHERE = {
    "lr=1": "here it is outer.optimizer.lr (outer loop) or algo.inner_optimizer.lr (inner loop)",
    "inner_lr=1": "here it is algo.inner_optimizer.lr",
    "algo.lr=1": "algo.inner_optimizer.lr",
    "outer_lr=1": "here it is outer.optimizer.lr",
    "meta_lr=1": "here it is outer.optimizer.lr",
    "epochs=1": "here it is steps",
    "iterations=1": "here it is steps",
    "batch_size=4": "here it is algo.meta_batch",
    "tasks_per_batch=4": "here it is algo.meta_batch",
    "n_way=5": "here it is way",
    "ways=5": "did you mean way",
    "k_shot=1": "here it is shot",
    "shots=1": "did you mean shot",
    "num_steps=1": "here it is algo.inner_steps and algo.inner_steps_test",
    "optimizer=adam": "here it is outer.optimizer.name",
    "outer=adamw": "there are adam, sgd; for this optimizer: outer.optimizer.name=AdamW",
    "algo.inner_optimizer=Adam": "must be a group of settings: algo.inner_optimizer.name=Adam",
    "model.hidden_size=64": "here it is model.filters (model=conv4) or model.hidden=[40,40] (model=mlp)",
    "dataset=omniglot": "here it is data",
    "algorithm=maml": "here it is algo",
    "gpu=0": "here it is device=cuda",
    "algo=reptile algo.adapt_norm=true": "algo.adapt_norm: no such setting in what is chosen; it belongs to algo=boil",
}


@pytest.mark.parametrize("words", every(8, ELSEWHERE))
def test_names_of_other_libraries(words, typed):
    refused(typed("data=glyphs", *words.split()), ELSEWHERE[words])


def test_a_choice_made_of_another_shows_its_own_values(typed):
    shown = typed("--help", "data=cub").stdout
    assert shown.count("data.size=") == 1 and "data.size=84" in shown and "images are resized to size x size" in shown
