"""Wrong command lines: each is one clear line and exit status 2, before any work.

Exit status: 0 done; 2 a mistake in what was asked; 1 the machine failed; 128 + n stopped by signal n.
"""

import os
import shutil
import subprocess
import sys

import pytest
from torch import nn

from metalearn import controls
from metalearn.config.instantiate import call
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ROOT, choices, every
from tests.helpers.folders import picture
from tests.helpers.processes import refused


class Unretrained(controls.Step):
    """A step that a retraining leaves out."""

    retrains = False


MISTAKES = {
    "stpes=3": "did you mean steps",
    "eval.evry=3": "did you mean eval.every",
    "algo.inner_optimiser.lr=1": "did you mean algo.inner_optimizer.lr",
    "algo.inner_stesp=1": "no such setting (did you mean algo.inner_steps?); --help explains them",
    "algo.last=norms.2": "algo.last: no such setting; if its class has it, add it with +algo.last=norms.2",
    "algo.first_rate=0.2": "algo.first_rate: no such setting; if its class has it, add it with +algo.first_rate=0.2",
    "model.width=8": "it belongs to model=backbone and model=resnet12; if its class has it, add it with +model.width=8",
    "control.cycle.Patience.n=3": "no such setting; if its class has it, add it with +control.cycle.Patience.n=3",
    "control.cycle.Stpe.n=3": "did you mean control.cycle.Step.n?",
    "budget=nope": f"budget=nope: no such choice; there are {choices('budget')}",
    "task=nope": "task=nope: no such choice; there are sinusoid",
    "algo=mmal": f"there are {choices('algo')}",
    "algo=malm": "algo=malm: no such choice (did you mean maml?); there are",
    "data=glyps --help": "data=glyps: no such choice (did you mean glyphs?); there are",
    "data=omnigloot": f"there are {choices('data')}",
    "experiment=nope": "no such choice; there are omniglot/anil_20w1s, ",
    "algo=maml,anil": "algo=maml,anil: several values are a sweep: add -m",
    "search=tpe algo.inner_steps=range(1,6)": "search=tpe: a search is many runs: add -m",
    "algo.inner_steps=range(1,6)": "algo.inner_steps=range(1,6): several values: for a sweep add -m, for a search -m",
    "algo.inner_optimizer.lr=intervall(0.01,2)": "did you mean 'algo.inner_optimizer.lr=interval(0.01,2)'?",
    "-m search=tpe algo.inner_steps=interval(1)": "interval() cannot be read like this; write it as in",
    "foo": "key=value",
    "steps=abc": "must be a whole number",
    "steps=1.5": "must be a whole number",
    "steps=1e3": "steps=1000.0: must be a whole number: steps=1000",
    "outer.optimizer.lr=abc": "outer.optimizer.lr=abc: must be a number",
    "init=runs/nope": "metalearn: init=runs/nope: no such run",
    "model._target_=nowhere.Net": "cannot be imported (No module named 'nowhere'); work in the folder of nowhere, or add",
    "steps=-1": "must be at least 0",
    "way=0": "must be at least 1",
    "way=": "must be a whole number",
    "way=500": "only 20 classes",
    "query=20": "lower shot= or query=",
    "eval.query=30": "lower shot= or query=",
    "seed=x": "must be a whole number",
    "norm=batch": "must be transductive or support or per_step",
    "device=tpu": "must be auto, cpu, cuda",
    "device=cuda:99": "CUDA device",
    "model.filters=0": "must be at least 1",
    "model.downsampling=maxpool": "must be stride or max_pool",
    "model=mlp model.hidden=[]": "model.hidden",
    "outer.optimizer.name=Adamm": "not an optimizer of torch.optim",
    "outer.schedule=step": "not a scheduler of torch.optim (did you mean StepLR?); choose constant, linear, cosine, Chained",
    "outer.schedule.T_max=3": "write the schedule with all its arguments: 'outer.schedule={name: StepLR",
    "outer.schedule={name:LambdaLR}": "outer.schedule.name=LambdaLR: takes a function, which a run cannot record; choose",
    "outer.schedule={name:OneCycleLR,max_lr:1,total_steps:$steps}": "total_steps=$steps: must be a whole number or null",
    "outer.schedule=ReduceLROnPlateau ~control.cycle.Evaluate": "no control measures: add Evaluate to control.cycle",
    "outer.clip_value=0": "outer.clip_value=0: must be above 0, or null",
    "outer.weight_decay=1": "outer.weight_decay=1: must be at least 0 and below 1",
    "weight_decay=0.1": "outer.weight_decay",
    "outer.clip=-1": "outer.clip=-1: must be above 0",
    "algo.inner_steps=abc": "must be a whole number",
    "algo.inner_steps=-1": "must be at least 0",
    "algo.inner_optimizer.lr=-1": "must be above 0",
    "algo.inner_optimizer.name=RMSprop": "engine.inner_loop=higher",
    "engine.precision=half": "must be float32 or tf32 or bf16",
    "engine.precision=tf32 device=cpu": "needs a CUDA device",
    "engine.cuda_graph=true device=cpu": "needs a CUDA device and a single process",
    "engine.precision=bf16 engine.kernel=grouped": "does not work with engine.kernel=grouped",
    "profile=3": "must be true or false",
    "engine.recompute=true norm=per_step": "MAML cannot recompute with norm=per_step",
    "algo=fomaml engine.recompute=true": "FOMAML is of first order, so that there is nothing to recompute",
    "algo=reptile engine.recompute=true": "Reptile has no second-order inner loop",
    "+algo.way=5": "algo.way: MAML has no such setting; it has meta_batch",
    "engine.kernel=magic": "must be auto or grouped or vmap",
    "algo.reduction=median": "must be mean or sum or shot_mean",
    "algo=pretrain algo.finetune=tail": "must be head or all",
    "algo=reptile algo.inner_batch=0": "must be at least 1",
    "data.classes=[1,2]": "three numbers",
    "data=folder": "data.root",
    "data=folder data.root=nowhere": "no such folder",
    "data=omniglot data.root=nowhere data.download=false": "images_background.zip",
    "~tracker": "tracker=None: a group of settings is needed",
    "eval=3": "eval: expects a group of settings, not a value",
    "algo=null": "need one of their choices",
    "seed=99999999999999999999": "must be below 2**63",
    "way=1": "at least 2",
    "outer.optimizer.name=LBFGS": "LBFGS evaluates the loss several times a step",
    "+outer.optimizer.wight_decay=3": "wight_decay: Adam has no such setting (did you mean weight_decay?)",
    "outer.warmup=99999": "outer.warmup=99999: must be at most steps=",
    "model.head=new": "model.head=new: Conv4 takes outputs=, the number of ways, and so has a head of its own",
    "model=module model._target_=mymodule": "name a class or a function by its path, such as mymodule.Name",
    "outer.optimizer.name=SparseAdam": "dense gradients",
    "engine.inner_loop=higher algo.inner_optimizer.name=NAdam": "algo.inner_optimizer",
    "data._target_=builtins.dict": "data._target_",
    "hydra.run.dir=/dev/null/x": "Not a directory",
    "algo=reptile algo.train_shot=25": "algo.train_shot=25",
    "model._target_=os.getcwd": "does not make a torch.nn.Module; see docs/extending.md#a-model",
    "log_every=0": "must be at least 1",
    "eval.every=0": "must be at least 1",
    "eval.tasks=1": "must be at least 2",
    "eval.test_tasks=none": "must be a whole number",
    "algo.meta_batch=0": "must be at least 1",
    "engine.chunk=0": "must be at least 1",
    "algo.inner_optimizer.momentum=0.5": "add it with +algo.inner_optimizer.momentum=",
    "algo.inner_optimizer={name:Adam,lr:0.01,eps:0}": "add it with +algo.inner_optimizer.eps=",
    "algo.inner_optimizer={_target_:mypackage.Mine,lr:0.4}": "add it with +algo.inner_optimizer._target_=",
    "data={nope:1}": "data.nope: no such setting",
    "outer.warmup=-1": "outer.warmup=-1: must be at least 0",
    "data=sinusoid model=conv4": "set model=mlp",
    "data.split_seed=x": "must be a whole number",
    "data.rotate_train=perhaps": "must be true or false",
    "tracker=wandb tracker.wandb._target_=builtins.dict": "does not make a metalearn.trackers.base.Tracker",
    "tracker=wandb tracker.wandb.tags=a": "must be a list",
    "~algo": "need one of their choices",
    "+nothing=1": "nothing: RunSettings has no such setting",
    "control=nope": "control=nope: no such choice; there are early_stopping, prechelt, steps",
    "control=null": "need one of their choices",
    "control.retrain=maybe": "must be true or false",
    "control.cycle=3": "control.cycle",
    "control.cycle.Step.n=0": "must be at least 1",
    "control.cycle.Step.n=x": "must be a whole number",
    "+control.cycle.Patience.n=0": "must be at least 1",
    "+control.cycle.Patience=5": "expects a group of settings",
    "+control.cycle.Patiense.n=3": "unknown control; choose from Step",
    "~control.cycle.Evaluate +control.cycle.GL.alpha=2": "add Evaluate before it",
    "~control.cycle.Step": "no control trains",
    "+control.cycle.mine._target_=nowhere.Mine": "cannot be imported",
    "+control.cycle.mine._target_=os.getcwd": "does not make a metalearn.controls.loop.Control",
    "+control.cycle.Warn.predicate='grad_norms>1'": "unknown value grad_norms; choose from",
    "+control.cycle.Callback.f=nowhere.f": "cannot be imported",
    "control.cycle.Save.file=../../x.pt": "must be a file name",
    "resume=nowhere": "resume=nowhere: no such run",
    "-m resume=nowhere": "is for one run",
    "-m resume=auto": "which sweep? Say hydra.sweep.dir=DIR",
    "+control.cycle.Info.f=..x": "control.cycle.Info.f=..x: cannot be imported",
    "+control.cycle.Skip={n: 0, control: {Save: {}}}".replace(" ", ""): "must be at least 1",
    "control.retrain=true ~control.cycle.Save ++control.cycle.Step._target_=tests.unit.cli.test_mistakes.Unretrained": "add Step",
    "algo.meta_batch=100000000": "algo.meta_batch=100000000: needs at least",
    "algo.meta_batch=1e8": "must be a whole number",
    "model.filters=100000": "parameters: needs at least",
    "model.filters=10000000000": "more parameters than any machine can hold",
    "data=glyphs data.classes=[100000000,5,5]": "data.classes=[100000000, 5, 5]: needs at least",
    "data=sinusoid shot=1000000000000": "shot=1000000000000 query=10: needs at least",
    "data=folder data.root=. data.size=100000": "must be at most 2048",
    "algo.inner_optimizer.lr=1e40": "a number in single precision",
    "outer.optimizer.lr=1e40": "outer.optimizer: ",
    "+outer.optimizer.capturable=true": "outer.optimizer: If capturable=True",
    "algo.inner_optimizer.name=Adam +algo.inner_optimizer.eps=-1": "eps=-1: must be above 0",
    "algo.inner_optimizer.name=Adam +algo.inner_optimizer.eps=0": "eps=0: must be above 0",
    "outer.optimizer.name=lr_scheduler": "not an optimizer of torch.optim",
    "data=sinusoid way=5": "way=5: a regression task has no classes; set way=1",
    "algo=pretrain algo.inner_steps=5": "inner_steps=5: must be 0",
    "trust=maybe": "must be true or false",
    "allow_changes=perhaps": "must be true or false",
}


@pytest.mark.parametrize("words", every(14, MISTAKES))
def test_a_wrong_command_line(words, typed, tmp_path):
    base = () if words.startswith("data=") else ("data=glyphs", "data.classes=[20,8,8]", "eval.test_tasks=2")
    refused(typed(*base, *words.split()), MISTAKES[words], folder=tmp_path)


def test_a_refused_run_leaves_no_folder(typed, tmp_path):
    refused(typed("data=glyphs", "data.classes=[20,8,8]", "algo.inner_steps=-1"), "must be at least 0")
    assert not list(tmp_path.iterdir())


def test_batch_norm_over_a_single_value(typed, tmp_path):
    for name in "abcdefgh":
        for number in range(6):
            picture(tmp_path / "images" / name / f"{number}.png")
    done = typed(
        "data=folder",
        "data.root=images",
        "data.size=16",
        "data.split=[0.4,0.3,0.3]",
        "way=2",
        "algo=reptile",
        "algo.inner_batch=1",
        "algo.train_shot=2",
        "eval.query=2",
        "engine.kernel=vmap",
        "steps=1",
    )
    refused(done, "batch norm: one value in each of 64 channels has no variance")


def test_a_limit_in_the_words_of_another_library_is_no_name_of_a_setting():
    with pytest.raises(UserError, match=r"^model: dropout probability has to be between 0 and 1"):
        call(nn.Dropout, {"p": 2.0}, "model")
    with pytest.raises(UserError, match=r"^control.cycle.Save.seconds=-1: must be above 0"):
        call(controls.Save, {"seconds": -1}, "control.cycle.Save")


@pytest.mark.slow
def test_a_wrong_folder_to_compare(tmp_path):
    def compare(*words, **settings):
        return subprocess.run([sys.executable, "-m", "metalearn.compare", *words], cwd=ROOT, text=True, **settings)

    for words, message in (((), "usage"), ((str(tmp_path / "none"),), "no such folder"),
                           ((str(tmp_path),), "no run with a result.json")):  # fmt: skip
        refused(compare(*words, capture_output=True), message)
    listener, closed = os.pipe()
    os.close(listener)  # as `| head` when it has seen enough
    runs = tmp_path / "runs"
    shutil.copytree(ROOT / "experiments" / "algorithms" / "omniglot_anil", runs / "anil")
    done = compare(str(runs), stdout=closed, stderr=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == ""


def test_the_list_is_long_enough():
    assert len(MISTAKES) >= 90
