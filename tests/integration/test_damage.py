"""Damaged checkpoints, and a disk that refuses one."""

import os
import random
import shutil

import pytest
import torch

import metalearn
from metalearn.lifecycle.launch import train
from metalearn.recording import checkpoint
from metalearn.runtime.errors import UserError
from metalearn.training import checkpoints
from tests.helpers.configs import SINUSOID, config, every
from tests.helpers.resuming import same


def test_a_checkpoint_that_the_disk_refused_is_written_later_as_it_was(tmp_path, monkeypatch):
    keep = "+control.cycle.keep={_target_: metalearn.controls.Save, file: 'step_{step}.pt'}"
    before, refusals = checkpoints.write_atomically, []

    def refuse(path, data, kept=None):
        if path.name in ("step_5.pt", "best.pt") and refusals.count(path.name) < 2:
            refusals.append(path.name)
            raise OSError(28, "No space left on device")
        before(path, data, kept)

    monkeypatch.setattr(checkpoints, "write_atomically", refuse)
    train(config(*SINUSOID, keep), tmp_path)
    assert set(refusals) == {"step_5.pt", "best.pt"}
    assert checkpoint.read(tmp_path / "checkpoints" / "step_5.pt")["step"] == 5
    assert checkpoint.read(tmp_path / "checkpoints" / "best.pt")["step"] == 20


def test_a_checkpoint_that_cannot_be_read_just_now_is_not_put_aside(stopped, monkeypatch):
    from pathlib import Path

    before = Path.read_bytes
    refuse = lambda path: (
        before(path) if path.name != "last.pt" else (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(UserError, match=r"last\.pt: Input/output error"):
            train(config(*SINUSOID, "resume=auto"), stopped)
    assert (stopped / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("damage", every(4, ["cut", "bit", "empty", "gone"]))
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, damage, tmp_path, capsys):
    train(config(*SINUSOID), tmp_path / "whole")
    last = stopped / "checkpoints" / "last.pt"
    content = last.read_bytes()
    at = content.index(checkpoint.read(last)["params"]["model"]["layers.0.weight"].numpy().tobytes())
    damaged = {
        "cut": content[: len(content) // 2],
        "bit": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        "empty": b"",
        "gone": None,
    }[damage]
    last.unlink() if damaged is None else last.write_bytes(damaged)
    train(config(*SINUSOID, f"resume={stopped}"), stopped)
    said = capsys.readouterr().out
    assert f"{stopped}: resuming from meta-step 10" in said
    assert damage == "gone" or ("damaged" in said and (stopped / "checkpoints" / "last.damaged.pt").exists())
    same(tmp_path / "whole", stopped)


def test_every_flipped_bit_is_found(stopped):
    path = stopped / "checkpoints" / "last.pt"
    content, dice = path.read_bytes(), random.Random(0)
    expected = checkpoint.digest(checkpoint.read(path))
    for _ in range(60):
        at = dice.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :])
        try:
            assert checkpoint.digest(checkpoint.read(path)) == expected  # a bit of padding, that says nothing
        except checkpoint.Damaged:
            pass


def test_no_readable_checkpoint_at_all(stopped, tmp_path, capsys):
    train(config(*SINUSOID), tmp_path / "whole")
    for file in (stopped / "checkpoints").glob("*.pt"):
        file.write_bytes(b"not a checkpoint")
    train(config(*SINUSOID, f"resume={stopped}"), stopped)
    assert "starting again from meta-step 0" in capsys.readouterr().out
    same(tmp_path / "whole", stopped)


def test_code_in_a_checkpoint_is_never_run(stopped, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    torch.save({"format": checkpoint.FORMAT, "params": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="damaged, or not a checkpoint"):
        metalearn.load(tmp_path / "evil.pt")
    shutil.copy(tmp_path / "evil.pt", stopped / "checkpoints" / "last.pt")
    train(config(*SINUSOID, f"resume={stopped}"), stopped)
    assert not (tmp_path / "executed").exists()
