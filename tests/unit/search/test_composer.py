"""Configurations composed from kept parts are those that Hydra composes."""

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from metalearn.config.compose import compose
from metalearn.config.groups import CONF
from metalearn.lifecycle.setup import prepare
from metalearn.search.composer import Composer
from tests.helpers.configs import every

SMALL = ("algo=anil", "data=glyphs", "data.classes=[20,8,12]", "model.filters=4", "steps=12", "test=false")


@pytest.fixture
def composer():
    """A composer, with the words that Hydra composed for it."""
    loaded = []

    def load(words):
        loaded.append(tuple(words))
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra_compose("config", overrides=list(words))
            return OmegaConf.masked_copy(config, list(config))  # as the sweeper does; it takes new settings

    made = Composer(load)
    made.loaded = loaded
    return made


@pytest.mark.parametrize("words", every(3, [
    (),
    SMALL,
    (*SMALL, "algo.inner_optimizer.lr=0.123456789012345678", "algo.inner_steps=3", "seed=7", "resume=auto"),
    ("algo=maml", "data=sinusoid", "model=mlp", "steps=3"),  # parts that groups select together
    ("steps=3", "algo=reptile", "query=${shot}", "shot=5"),  # references are resolved last
    ("algo.inner_optimizer={name: SGD, lr: 0.5}", "algo.inner_optimizer.lr=1"),  # in this order and the other
    ("algo.inner_optimizer.lr=1", "algo.inner_optimizer={name: SGD, lr: 0.5}"),
    ("+control.cycle.NumberLimit.n=3", "control.cycle.NumberLimit.n=4", "~control.cycle.Save"),
    ("++algo.inner_optimizer.momentum=0.9", "algo.inner_optimizer.lr=2"),
    ("data.root='with space, and comma'", "device=cpu", "init=null", "algo.inner_optimizer.name='SGD'"),
    ("experiment=omniglot/maml_5w1s", "algo.inner_steps=3", "seed=1", "seed=2"),
    ("tracker=none", "control=early_stopping", "outer.optimizer.lr=1e-3"),
]), ids=" ".join)  # fmt: skip
def test_a_configuration_is_that_of_hydra(words, composer):
    assert composer(words) == composer(words) == compose(*words)


def test_hydra_composes_once_for_trials_that_differ_in_values(composer):
    for rate in (0.1, 0.2, 0.3):
        found = composer([*SMALL, f"algo.inner_optimizer.lr={rate}", "pictures=none"])
        assert found["algo"]["inner_optimizer"]["lr"] == rate and found["steps"] == 12
    assert composer.loaded == [("algo=anil", "data=glyphs", "data.classes=[20,8,12]")]
    assert composer(SMALL)["algo"]["inner_optimizer"]["lr"] == compose(*SMALL)["algo"]["inner_optimizer"]["lr"]
    composer(["algo=maml"])
    assert len(composer.loaded) == 2


@pytest.mark.parametrize("word", every(3, ["algo.nothing=1", "nothing=1", "steps.part=1"]))
def test_an_unknown_setting_is_refused_by_hydra(word, composer):
    with pytest.raises(HydraException, match=word.partition("=")[0]):
        composer([*SMALL, word])
    assert composer.loaded[-1][-1] == word


def test_runs_share_the_data_if_its_settings_are_equal():
    first = prepare(compose(*SMALL))
    second = prepare(compose(*SMALL, "seed=3", "way=3"), like=first)
    assert second.dataset is first.dataset
    assert second.phase.source._store is first.phase.source._store  # the images, whatever the seed
    other = prepare(compose(*SMALL, "data.rotate_train=false"), like=first)
    assert other.dataset is not first.dataset and other.phase.source._store is not first.phase.source._store


def test_images_are_kept_only_while_they_are_used():
    import gc
    import weakref

    dataset = prepare(compose(*SMALL)).dataset
    gc.collect()
    one = dataset.source("validation", 0, "cpu")
    assert dataset.source("validation", 5, "cpu")._store is one._store is not dataset.source("test", 0, "cpu")._store
    kept = weakref.ref(one._store)
    del one
    gc.collect()
    assert kept() is None
