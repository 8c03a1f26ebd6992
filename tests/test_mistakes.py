"""Bad input and bad luck: each is one clear line and the right exit status, and nothing is lost.

Exit status: 0 done; 2 a mistake in what was asked; 1 the machine failed; 128 + n stopped by signal n.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import metalearn
from metalearn import controls
from metalearn.errors import UserError
from tests.conftest import QUICK, ROOT
from tests.test_cli import choices


class Unretrained(controls.Step):
    """A step that a retraining leaves out."""

    retrains = False


def refused(done, message, status=2):
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("metalearn: ") and message in lines[0], done.stderr


# -- the command line ------------------------------------------------------------------------------------------

MISTAKES = {
    "stpes=3": "did you mean steps",
    "eval.evry=3": "did you mean eval.every",
    "algo.inner_optimiser.lr=1": "did you mean algo.inner_optimizer.lr",
    "algo=mmal": f"there are {choices('algo')}",
    "data=omnigloot": f"there are {choices('data')}",
    "experiment=nope": "no such choice; there are omniglot/anil_20w1s, ",
    "algo=maml,anil": "algo=maml,anil: several values are a sweep: add -m",
    "foo": "key=value",
    "steps=abc": "must be a whole number",
    "steps=1.5": "must be a whole number",
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
    "model.halving=maxpool": "must be stride or max_pool",
    "model=mlp model.hidden=[]": "model.hidden",
    "outer.optimizer.name=Adamm": "not an optimiser of torch.optim",
    "outer.schedule=step": "must be constant or linear or cosine",
    "outer.clip=-1": "clip above 0",
    "algo.inner_steps=abc": "must be a whole number",
    "algo.inner_steps=-1": "must be at least 0",
    "algo.inner_optimizer.lr=-1": "must be above 0",
    "algo.inner_optimizer.name=RMSprop": "algo.engine=higher",
    "precision=half": "must be float32 or tf32 or bf16",
    "precision=tf32 device=cpu": "is of CUDA devices",
    "cuda_graph=true device=cpu": "for one process on a CUDA device",
    "precision=bf16 algo.engine=grouped": "not with algo.engine=grouped",
    "profile=3": "must be true or false",
    "algo.recompute=true norm=per_step": "is for second order",
    "algo.engine=grouped model=mlp": "no kernels of its own",
    "algo.engine=magic": "must be auto or grouped or vmap or higher",
    "algo.reduction=median": "must be mean or sum or shot_mean",
    "algo=pretrain algo.finetune=tail": "must be head or all",
    "algo=reptile algo.inner_batch=0": "must be at least 1",
    "data.classes=[1,2]": "three numbers",
    "data=folder": "data.root",
    "data=folder data.root=nowhere": "no such folder",
    "data=omniglot data.root=nowhere data.download=false": "images_background.zip",
    "~tracker": "tracker=None: is a group of settings",
    "eval=3": "eval: is a group of settings, not a value",
    "algo=null": "need one of their choices",
    "seed=99999999999999999999": "must be below 2**63",
    "way=1": "at least 2",
    "outer.optimizer.name=LBFGS": "closure",
    "outer.optimizer.name=SparseAdam": "dense gradients",
    "algo.engine=higher algo.inner_optimizer.name=NAdam": "algo.inner_optimizer",
    "data._target_=builtins.dict": "data._target_",
    "hydra.run.dir=/dev/null/x": "Not a directory",
    "algo=reptile algo.train_shot=25": "algo.train_shot=25",
    "model._target_=os.getcwd": "does not make a metalearn.models.base.MetaModel",
    "log_every=0": "must be at least 1",
    "eval.every=0": "must be at least 1",
    "eval.tasks=1": "must be at least 2",
    "eval.test_tasks=none": "must be a whole number",
    "algo.meta_batch=0": "must be at least 1",
    "algo.chunk=0": "must be at least 1",
    "algo.inner_optimizer.momentum=0.5": "write +algo.inner_optimizer.momentum=",
    "outer.warmup=-1": "warmup must be at least 0",
    "data=sinusoid model=conv4": "set model=mlp",
    "data.split_seed=x": "must be a whole number",
    "data.rotate_train=perhaps": "must be true or false",
    "tracker._target_=builtins.dict": "does not make a metalearn.trackers.base.Tracker",
    "tracker=wandb tracker.tags=a": "must be a list",
    "~algo": "steps: a value is needed",
    "+nothing=1": "nothing: Settings has no such setting",
    "control=nope": "control=nope: no such choice; there are early_stopping, prechelt, steps",
    "control=null": "need one of their choices",
    "control.retrain=maybe": "must be true or false",
    "control.cycle=3": "control.cycle",
    "control.cycle.Step.n=0": "must be at least 1",
    "control.cycle.Step.n=x": "must be a whole number",
    "+control.cycle.Patience.n=0": "must be at least 1",
    "+control.cycle.Patience=5": "is a group of settings",
    "+control.cycle.Patiense.n=3": "no such control; there are Step",
    "~control.cycle.Evaluate +control.cycle.GL.alpha=2": "add Evaluate before it",
    "~control.cycle.Step": "none of its controls trains",
    "+control.cycle.mine._target_=nowhere.Mine": "cannot be imported",
    "+control.cycle.mine._target_=os.getcwd": "does not make a metalearn.controls.base.Control",
    "+control.cycle.Warn.predicate='grad_norms>1'": "no value grad_norms; there are",
    "+control.cycle.Callback.f=nowhere.f": "cannot be imported",
    "control.cycle.Save.file=../../x.pt": "plain name",
    "resume=nowhere": "no run was begun there",
    "-m resume=nowhere": "is for one run",
    "-m resume=auto": "which sweep? Say hydra.sweep.dir=DIR",
    "+control.cycle.Info.f=..x": "control.cycle.Info.f=..x: cannot be imported",
    "+control.cycle.Skip={n: 0, control: {Save: {}}}".replace(" ", ""): "must be at least 1",
    "control.retrain=true ~control.cycle.Save ++control.cycle.Step._target_=tests.test_mistakes.Unretrained": "add Step",
    "allow_changes=perhaps": "must be true or false",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_wrong_command_line(words, typed, tmp_path):
    base = () if words.startswith("data=") else ("data=glyphs", "data.classes=[20,8,8]", "eval.test_tasks=2")
    refused(typed(*base, *words.split()), MISTAKES[words])
    assert not list(tmp_path.rglob("metrics.csv"))


def test_a_wrong_folder_to_compare(tmp_path):
    def compare(*words, **settings):
        return subprocess.run([sys.executable, "-m", "metalearn.compare", *words], cwd=ROOT, text=True, **settings)

    for words, message in (((), "usage"), ((str(tmp_path / "none"),), "no such folder"),
                           ((str(tmp_path),), "no run with a result.json below it")):  # fmt: skip
        refused(compare(*words, capture_output=True), message)
    listener, closed = os.pipe()
    os.close(listener)  # as `| head` when it has seen enough
    runs = tmp_path / "runs"
    shutil.copytree(ROOT / "experiments" / "algorithms" / "glyphs_anil", runs / "anil")
    done = compare(str(runs), stdout=closed, stderr=subprocess.PIPE)
    assert done.returncode == 0 and done.stderr == ""


# -- data ------------------------------------------------------------------------------------------------------


def picture(path, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)).save(path)


def folder_of(root, classes, images):
    for c in range(classes):
        for i in range(images):
            picture(root / f"class{c}" / f"{i}.png")


def archive(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)


def omniglot_zips(root, **changed):
    """Two archives of the right names with next to nothing in them."""
    root.mkdir(exist_ok=True)
    picture(root / "p.png", (105, 105))
    png = (root / "p.png").read_bytes()
    for name in ("images_background", "images_evaluation"):
        archive(root / f"{name}.zip", changed.get(name, {f"{name}/Latin/character01/0001_01.png": png}))


def bad_data(kind, root):
    """Make `root` such that loading it must fail; returns the words to load it with."""
    mine, omniglot = ("data=folder", f"data.root={root}"), ("data=omniglot", f"data.root={root}", "data.download=false")
    traversal = {"../../../escaped/character01/0001_01.png": b"x", "/escaped/character01/0001_02.png": b"x"}
    match kind:
        case "a file in place of a folder":
            root.write_text("")
            return mine
        case "an empty folder":
            root.mkdir()
            return mine
        case "empty class folders":
            for c in "abc":
                (root / c).mkdir(parents=True)
            return mine
        case "images without class folders":
            for i in range(9):
                picture(root / f"{i}.png")
            return mine
        case "nothing but unreadable images":
            for c in "abc":
                for i in range(9):
                    (root / c).mkdir(parents=True, exist_ok=True)
                    (root / c / f"{i}.png").write_bytes(b"not an image")
            return mine
        case "too few images in each class":
            folder_of(root, 5, 2)
            return mine
        case "too few classes for the ways":
            folder_of(root, 6, 12)
            return (*mine, "way=5")
        case "a split that leaves nothing":
            folder_of(root, 4, 12)
            return (*mine, "data.split=[0.1,0.2,0.7]", "way=2")
        case "no Omniglot" | "auto with damaged Omniglot":
            if kind == "no Omniglot":
                root.mkdir()
                return omniglot
            omniglot_zips(root)
            return ("data=auto", f"data.root={root}", "data.download=false")
        case "one archive missing":
            omniglot_zips(root)
            (root / "images_evaluation.zip").unlink()
            return omniglot
        case "an archive that is no zip":
            omniglot_zips(root)
            (root / "images_background.zip").write_bytes(b"hello")
            return omniglot
        case "a truncated zip":
            omniglot_zips(root)
            path = root / "images_background.zip"
            path.write_bytes(path.read_bytes()[:-30])
            return omniglot
        case "a zip with a damaged entry":
            omniglot_zips(root)
            path = root / "images_background.zip"
            content = bytearray(path.read_bytes())
            content[120] ^= 255
            path.write_bytes(content)
            return omniglot
        case "an empty zip":
            omniglot_zips(root, images_background={})
            return omniglot
        case "a path-traversal zip":
            omniglot_zips(root, images_background=traversal)
            return omniglot
        case "a zip of something else":
            omniglot_zips(root, images_background={"holiday/photos/beach/1.png": b"x"})
            return omniglot
        case "images of another size":
            picture(root / "small.png", (20, 20))
            small = (root / "small.png").read_bytes()
            omniglot_zips(root, images_background={"images_background/Latin/character01/0001_01.png": small})
            return omniglot


BAD_DATA = {
    "a file in place of a folder": "no such folder",
    "an empty folder": "0 classes with at least",
    "empty class folders": "0 classes with at least",
    "images without class folders": "0 classes with at least",
    "nothing but unreadable images": "0 classes with at least",
    "too few images in each class": "0 classes with at least",
    "too few classes for the ways": "split has only",
    "a split that leaves nothing": "leaves no class",
    "no Omniglot": "images_background.zip and images_evaluation.zip",
    "auto with damaged Omniglot": "damaged or not Omniglot",
    "one archive missing": "images_background.zip and images_evaluation.zip",
    "an archive that is no zip": "damaged zip",
    "a truncated zip": "damaged zip",
    "a zip with a damaged entry": "damaged zip",
    "an empty zip": "damaged or not Omniglot",
    "a path-traversal zip": "not a readable image",
    "a zip of something else": "not a readable image",
    "images of another size": "20x20, not 105x105",
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data(kind, typed, tmp_path):
    words = bad_data(kind, tmp_path / "root")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused(typed(*words), BAD_DATA[kind])
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list(tmp_path.rglob("metrics.csv")) and not list(tmp_path.parent.rglob("escaped"))


def test_a_list_that_names_no_character(typed, tmp_path, omniglot_root):
    root = tmp_path / "root"
    (root / "splits" / "vinyals").mkdir(parents=True)
    for name in ("images_background.zip", "images_evaluation.zip"):
        found = next(p for p in (f"{omniglot_root}/omniglot/{name}", f"{omniglot_root}/{name}") if os.path.exists(p))
        (root / name).symlink_to(found)
    words = ("data=omniglot", f"data.root={root}", "data.split=vinyals")
    refused(typed(*words), "train.txt not found")
    for part in ("train", "val", "test"):
        (root / "splits" / "vinyals" / f"{part}.txt").write_text("Klingon/character01/rot000\n")
    refused(typed(*words), "no such character in Omniglot: Klingon/character01")


# -- folders and disks -----------------------------------------------------------------------------------------


def complete(typed, *words):
    done = typed(*QUICK, *words)
    assert done.returncode == 0, done.stderr
    return done


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_folder_with_a_run_is_not_overwritten(typed, tmp_path):
    complete(typed, "hydra.run.dir=out")
    before = content_of(tmp_path / "out")
    assert any(path.name == "overrides.yaml" for path in before)
    refused(
        typed(*QUICK, "seed=5", "hydra.run.dir=out"),
        "holds a run already: go on with it (python -m metalearn.run resume=",
    )
    refused(typed("resume=out", "steps=4"), "its configuration has changed: steps: 3 -> 4")
    refused(typed("resume=out", "model.filters=3", "allow_changes=true"), "other names or shapes")
    refused(typed("resume=out", "hydra.run.dir=other"), "leave hydra.run.dir= out")
    assert content_of(tmp_path / "out") == before
    assert typed("resume=out").returncode == 0 and content_of(tmp_path / "out") == before


def test_nobody_reads_the_output(tmp_path):
    """`... | head -1`: the run goes on."""
    words = " ".join(f"'{word}'" for word in (*QUICK, "hydra.run.dir=out"))
    line = f"{sys.executable} -m metalearn.run {words} | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr and (tmp_path / "out" / "result.json").exists()


DAMAGE = {
    "config.json is cut": ("config.json", b'{"config": {', "damaged: this run cannot be resumed"),
    "config.json is something else": ("config.json", b"[1, 2]", "damaged: this run cannot be resumed"),
    "config.json lacks its words": ("config.json", b'{"config": {}}', "damaged: this run cannot be resumed"),
    "config.json is gone": ("config.json", None, "no run was begun there"),
    "result.json is cut": ("result.json", b'{"algo": ', "result.json: damaged; remove it"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_run(kind, typed, tmp_path):
    complete(typed, "hydra.run.dir=out")
    file, content, message = DAMAGE[kind]
    (tmp_path / "out" / file).unlink() if content is None else (tmp_path / "out" / file).write_bytes(content)
    refused(typed("resume=out"), message)


def test_a_run_folder_that_cannot_be_made(typed, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(typed(*QUICK, "hydra.run.dir=file"), "File exists")
    refused(typed(*QUICK, "hydra.run.dir=file/below"), "Not a directory")
    refused(typed(*QUICK, "hydra.run.dir=/proc/nowhere"), "/proc/nowhere")


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own: `disk(size)` makes it, and again changes its size; `ro` makes it read-only."""
    place = tmp_path / "disk"

    def mount(options):
        place.mkdir(exist_ok=True)
        again = ["-o", f"remount,{options}"] if os.path.ismount(place) else ["-t", "tmpfs", "-o", options, "tmpfs"]
        if subprocess.run(["mount", *again, str(place)], capture_output=True).returncode:
            pytest.skip("this user may not mount a file system")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


def test_read_only_data_and_run_folders(typed, tmp_path, disk):
    place = disk("size=4m")
    folder_of(place / "data", 8, 8)
    complete(typed, f"hydra.run.dir={place}/run")
    before = content_of(place)
    disk("ro")
    refused(typed(*QUICK, f"hydra.run.dir={place}/other"), "Read-only file system")
    refused(typed(f"resume={place}/run", "steps=5", "allow_changes=true"), "Read-only file system")
    words = (
        "data=folder",
        f"data.root={place}/data",
        "data.size=12",
        "data.fewest=4",
        "data.split=[0.4,0.3,0.3]",
        "way=2",
    )
    done = typed(*(w for w in QUICK if not w.startswith("data")), *words, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert content_of(place) == before


def test_a_full_disk_stops_no_training_and_loses_nothing(typed, tmp_path, disk):
    """What cannot be written is kept, tried again, and at the end the run can be resumed."""
    words = [w for w in QUICK if not w.startswith(("steps", "model"))]
    words += ["steps=8", "model.filters=16", "control.cycle.Step.n=2"]
    assert typed(*words, "hydra.run.dir=whole").returncode == 0
    place = disk("size=200k")  # room for a checkpoint, not for two, nor for the pictures
    done = typed(*words, f"hydra.run.dir={place}/run")
    refused(done, "No space left on device", status=1)
    assert "to go on: " in done.stderr and done.stdout.count("No space left on device") == 1
    assert "test accuracy" in done.stdout and "step 8/8" in done.stdout  # it went on to the end, and showed the result
    disk("size=20m")
    assert typed(f"resume={place}/run").returncode == 0
    for file in ("metrics.csv", "layers.csv"):
        assert (place / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    clock = ("train_seconds", "tasks_per_second")
    one, other = (json.loads((f / "result.json").read_text()) for f in (place / "run", tmp_path / "whole"))
    assert one | dict.fromkeys(clock) == other | dict.fromkeys(clock)


def test_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch, capsys):
    """In the middle of a row: the file is written again as a whole, without half a row."""
    from metalearn.record import Disk, Record
    from metalearn.trackers.base import Tracker

    record = Record(tmp_path, Tracker(), "accuracy", Disk())
    record.start()
    real, broken = open, []

    class Half:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(28, "No space left on device", "metrics.csv")

    for step in range(1, 9):
        if step == 4:
            broken = [True]
            monkeypatch.setattr(
                "builtins.open", lambda p, m="r", **k: Half(real(p, m)) if "a" in m else real(p, m, **k)
            )
        if step == 6:
            monkeypatch.setattr("builtins.open", real)
        record.log(step, {"train_loss": step / 7, "tasks_per_second": 1.0})
    record.finish()
    assert broken
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(step), str(step / 7)] for step in range(1, 9)]
    said = capsys.readouterr().out
    assert said.count("No space left") == 1 and said.count("can be written again") == 1


def test_a_run_is_not_complete_while_a_table_is_not(tmp_path, monkeypatch):
    """Room for result.json, but none for a copy of metrics.csv."""
    from metalearn import record
    from metalearn.errors import Unfinished
    from metalearn.experiment import run_experiment
    from tests.resuming import SINUSOID, same
    from tests.test_learner import config

    run_experiment(config(*SINUSOID), tmp_path / "whole")
    before = record.write_atomically

    def refuse(path, data):
        if path.name == "metrics.csv":
            raise OSError(28, "No space left on device", str(path))
        before(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(record, "write_atomically", refuse)
        with pytest.raises(Unfinished, match=r"metrics\.csv: No space left on device at meta-step 20; to go on: "):
            run_experiment(config(*SINUSOID), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists() and not (tmp_path / "run" / "metrics.csv").exists()
    run_experiment(config(*SINUSOID, "resume=auto"), tmp_path / "run")
    same(tmp_path / "whole", tmp_path / "run")


# -- in Python -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    from metalearn.experiment import run_experiment
    from tests.test_learner import config

    folder = tmp_path_factory.mktemp("run")
    run_experiment(config("data=glyphs", "data.classes=[8,6,6]", "model.filters=4", "steps=1"), folder)
    return metalearn.load(folder)


SHAPES = {
    "no images": ([], [], "no images given"),
    "fewer labels than images": (np.zeros((5, 28, 28)), [0, 1], "5 images but 2 labels"),
    "images of another size": (np.zeros((5, 27, 28)), range(5), "this learner takes"),
    "too many channels": (np.zeros((5, 3, 28, 28)), range(5), "this learner takes"),
    "too few dimensions": (np.zeros(5), range(5), "this learner takes"),
    "images of different sizes": ([np.zeros((28, 28)), np.zeros((27, 28))], [0, 1], "different shapes"),
    "too many classes": (np.zeros((6, 28, 28)), range(6), "6 classes"),
    "lists as labels": (np.zeros((2, 28, 28)), [[0], [1]], "one value an image"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_wrong_shapes(kind, learner):
    images, labels, message = SHAPES[kind]
    with pytest.raises(UserError, match=message) as error:
        learner.adapt(images, list(labels))
    assert "\n" not in str(error.value)


FILES = {
    "no such file": (None, "no such checkpoint"),
    "an empty file": (b"", "damaged, or not a checkpoint"),
    "a text": (b"hello", "damaged, or not a checkpoint"),
    "a zip without a checkpoint": ("zip", "damaged, or not a checkpoint"),
    "a tensor": (torch.zeros(3), "not a checkpoint of metalearn"),
    "somebody else's checkpoint": ({"state_dict": {}}, "not a checkpoint of metalearn"),
    "another version": ({"format": 1, "meta": {}}, "another version"),
    "a digest that is not its own": ({"format": 2, "meta": {}, "digest": "0"}, "does not have the digest"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_checkpoints(kind, tmp_path):
    content, message = FILES[kind]
    path = tmp_path / "x.pt"
    if content == "zip":
        archive(path, {"a": b"b"})
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        metalearn.load(path)
    assert "x.pt" in str(error.value) and "\n" not in str(error.value)


def test_the_list_is_long_enough():
    assert len(MISTAKES) + len(BAD_DATA) + len(DAMAGE) + len(SHAPES) + len(FILES) >= 60
