"""Every choice composes with every other, and each group sets its own node alone."""

import pytest
import yaml

from metalearn.config.compose import compose
from metalearn.config.groups import CONF, choices
from metalearn.config.instantiate import call
from metalearn.recording.published import Published
from metalearn.runtime.errors import UserError
from tests.helpers.configs import ALGORITHMS, every
from tests.helpers.processes import refused

SETS_OTHERS = {"experiment", "budget", "task", "search"}  # groups whose purpose is to set others
ROOTS = {"folder": ["data.root=images"]}  # words that a data set needs


@pytest.mark.parametrize("algo", every(8, ALGORITHMS))
def test_an_algorithm_composes_with_every_data_set(algo):
    own = yaml.safe_load((CONF / "algo" / f"{algo}.yaml").read_text())
    budget = yaml.safe_load(text.read_text()) if (text := CONF / "budget" / f"{algo}.yaml").exists() else {}
    for data in choices("data"):
        node = compose(f"algo={algo}", f"data={data}", *ROOTS.get(data, []))
        regression = data == "sinusoid"
        assert node["steps"] == budget.get("steps", 3000)
        assert (node["way"], node["shot"]) == ((1, 10) if regression else (5, 1))
        assert node["query"] == (10 if regression else budget.get("query", 5))
        assert node["eval"]["query"] == (10 if regression else budget.get("eval", {}).get("query", node["query"]))
        assert node["outer"]["weight_decay"] == (
            0 if regression else budget.get("outer", {}).get("weight_decay", 0.001)
        )
        assert node["model"]["_target_"].endswith(".MLP" if regression else ".Conv4")
        changed = {name for name in own if name != "defaults" and node["algo"][name] != own[name]}
        assert changed <= ({"inner_steps_test", "inner_optimizer"} if regression else set())
        if regression and "inner_optimizer" in own:
            assert node["algo"]["inner_steps_test"] == 10 and node["algo"]["inner_optimizer"]["lr"] == 0.01


def test_words_of_the_command_line_come_last():
    node = compose("algo=reptile", "data=sinusoid", "steps=7", "query=3", "algo.inner_optimizer.lr=0.5", "model=conv4")
    assert (node["steps"], node["query"], node["algo"]["inner_optimizer"]["lr"]) == (7, 3, 0.5)
    assert node["model"]["_target_"].endswith(".Conv4")
    assert compose("experiment=omniglot/reptile_5w1s", "algo=anil")["steps"] == 100000  # the experiment's, not anil's


def test_the_papers_settings_are_not_those_of_short_runs():
    for algo in ("maml", "fomaml", "anil"):
        for shot in (1, 5):
            node = compose(f"experiment=omniglot/{algo}_5w{shot}s")
            assert node["query"] == node["eval"]["query"] == shot
            assert node["outer"]["weight_decay"] == 0 and node["algo"]["meta_batch"] == 32


WRONG = (
    "algo=mmal",
    "stpes=3",
    "budget=nope",
    "algo=null",
    "data=folder",
    "way=[5",
    "way=5,20",
    "algo.inner_optimizer.eps=1",
)


@pytest.mark.parametrize("word", every(3, WRONG))
def test_a_mistake_in_python_is_the_line_of_the_command_line(word, typed):
    with pytest.raises(UserError) as error:
        compose(word)
    refused(typed(word), f"metalearn: {error.value}")


def test_values_are_quoted_as_on_the_command_line():
    assert compose("data=folder", "data.root=na\u00efve [1]")["data"]["root"] == "na\u00efve [1]"


EXPERIMENTS = choices("experiment")


@pytest.mark.slow
def test_experiments_hold_what_they_differ_in():
    assert len(EXPERIMENTS) == 28
    for name in EXPERIMENTS:
        text = (CONF / "experiment" / f"{name}.yaml").read_text()
        assert text.splitlines()[1] == f"# python -m metalearn.run experiment={name}"
        assert len(text.splitlines()) <= 10
        node, short = compose(f"experiment={name}"), name.rpartition("/")[2]
        assert short == f"{node['algo']['_target_'].rpartition('.')[2].lower()}_{node['way']}w{node['shot']}s"
        published = call(Published, node["paper"], "paper").entries(
            node["algo"]["_target_"].rpartition(".")[2].lower(), node["way"], node["shot"]
        )
        assert bool(published) == (short not in ("anil_5w1s", "anil_5w5s"))
        if published:
            assert 0.89 <= published["paper_accuracy"] < 1 and " et al. 20" in published["paper_source"]


def test_a_published_result_is_of_its_way_and_shot_alone():
    assert Published(**compose("experiment=omniglot/maml_5w1s")["paper"]).entries("maml", 5, 1) == {
        "paper_accuracy": 0.987,
        "paper_ci95": 0.004,
        "paper_source": "Finn et al. 2017, table 1",
    }
    assert Published(**compose("experiment=omniglot/maml_5w1s", "way=20")["paper"]).entries("maml", 20, 1) == {}
    assert Published(**compose("experiment=omniglot/maml_5w1s", "algo=fomaml")["paper"]).entries("fomaml", 5, 1) == {}
    assert Published(**compose()["paper"]).entries("maml", 5, 1) == {}
    with pytest.raises(UserError, match=r"paper.test_accuracy=98.7: must be between 0 and 1"):
        call(Published, compose("paper.test_accuracy=98.7")["paper"], "paper")


def test_only_groups_that_set_others_reach_beyond_their_node():
    for file in CONF.rglob("*.yaml"):
        group = file.relative_to(CONF).parts[0]
        assert "@package _global_" not in file.read_text() or group in SETS_OTHERS, file


def test_an_algorithm_of_ones_own_is_one_plain_file(tmp_path, typed):
    text = (CONF / "algo" / "anil.yaml").read_text().replace("meta_batch: 16", "meta_batch: 3")
    (tmp_path / "mine" / "algo").mkdir(parents=True)
    (tmp_path / "mine" / "algo" / "own.yaml").write_text(text)
    shown = yaml.safe_load(typed("--config-dir=mine", "algo=own", "data=sinusoid", "--cfg", "job").stdout)
    assert shown["algo"]["meta_batch"] == 3 and shown["way"] == 1 and isinstance(shown["steps"], int)
