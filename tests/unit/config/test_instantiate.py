"""Building an object from settings: what a constructor cannot take is one line."""

import pytest

from metalearn.config.instantiate import build, call
from metalearn.runtime.errors import UserError


class Inner:
    def __init__(self, width: int = 1):
        self.width = width


class HandsOn(Inner):
    """Passes its settings to another constructor."""

    def __init__(self, **settings):
        super().__init__(**settings)


class Broken(Inner):
    """Raises a TypeError that has nothing to do with the settings."""

    def __init__(self, **settings):
        super().__init__()
        len(self.width)


def test_settings_are_handed_on():
    node = {"_target_": f"{__name__}.HandsOn", "width": 3}
    assert build(node, "model", Inner).width == 3


def test_a_setting_that_is_handed_on_to_a_constructor_without_it():
    with pytest.raises(UserError, match=r"^model\.downsampling: HandsOn has no such setting; it has width; leave "):
        build({"_target_": f"{__name__}.HandsOn", "downsampling": "stride"}, "model", Inner)


def test_a_defect_of_the_users_constructor_is_one_line_that_names_its_place():
    with pytest.raises(
        UserError, match=r"^model\._target_: TypeError: .* has no len\(\) \(.*test_instantiate\.py:26\)$"
    ):
        call(Broken, {}, "model")


def test_a_setting_too_many_names_those_there_are_and_the_way_out():
    with pytest.raises(
        UserError, match=r"^model\.depth: Inner has no such setting; it has .*width; leave one out by ~model\.depth"
    ):
        call(Inner, {"depth": 2}, "model")
