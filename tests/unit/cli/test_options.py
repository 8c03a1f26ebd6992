"""Options of the command line between its settings, and what a refused command leaves behind."""

import pytest

from tests.helpers.processes import refused

MODEL = "# My own\n_target_: metalearn.models.mlp.MLP\nhidden: [7]\n"


def test_options_stand_before_between_or_after_settings(typed, tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text(MODEL)
    own = ("--config-dir", str(tmp_path / "mine"))
    for words in (
        (*own, "--cfg", "job", "way=3", "model=own"),
        ("way=3", *own, "model=own", "--cfg", "job"),
        ("--cfg=job", "way=3", "model=own", *own),
        ("way=3", f"--config-dir={own[1]}", "-c", "job", "model=own"),
    ):
        done = typed(*words)
        assert done.returncode == 0, done.stderr
        assert "way: 3" in done.stdout and "- 7" in done.stdout


def test_an_option_that_does_not_exist_is_one_line(typed):
    refused(typed("way=3", "--lr", "0.1"), "--lr: no such option; write settings as key=value")
    refused(typed("--cfg", "jobs"), "--cfg")


@pytest.mark.slow
def test_a_refused_command_leaves_no_folder(typed, tmp_path):
    refused(typed("data=glyphs", "algo.inner_optimizer=Adam"), "must be a group of settings")
    assert not list(tmp_path.glob("runs/*"))
    (tmp_path / "empty").mkdir()
    refused(typed("data=glyphs", "algo.inner_optimizer=Adam", "hydra.run.dir=empty"), "must be a group of settings")
    assert (tmp_path / "empty").exists()
