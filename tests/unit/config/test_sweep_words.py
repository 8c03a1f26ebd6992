"""interval(), range(), choice() and tag() as users mistype them: refused by name, with what to write."""

import pytest

import metalearn
from metalearn.config.sweep_words import misread
from metalearn.runtime.errors import UserError
from metalearn.search.parse import parse

MISTAKES = {
    "interval(0.01 2)": "interval() cannot be read like this; did you mean 'x=interval(0.01, 2)'?",
    "interval (0.01 2)": "did you mean 'x=interval(0.01, 2)'?",
    "interval[0.01, 2]": "did you mean 'x=interval(0.01, 2)'?",
    "intervall(0.01,2)": "intervall() cannot be read like this; did you mean 'x=interval(0.01,2)'?",
    "Interval(0.01, 2)": "did you mean 'x=interval(0.01, 2)'?",
    "interval(0.01)": "write it as in 'x=interval(0.01, 2)'",
    "uniform(0.01, 2)": "uniform() cannot be read like this; write it as in 'x=interval(0.01, 2)'",
    "loguniform(0.01, 2)": "write it as in 'x=tag(log, interval(0.01, 2))'",
    "range(1 6)": "did you mean 'x=range(1, 6)'?",
    "range(1;6)": "write it as in 'x=range(1, 6)'",
    "choice(maml anil)": "did you mean 'x=choice(maml, anil)'?",
    "choice(a, b": "did you mean 'x=choice(a, b)'?",
    "tag(log, interval(0.01 2))": "did you mean 'x=tag(log, interval(0.01, 2))'?",
    "tag(log interval(0.01, 2))": "did you mean 'x=tag(log, interval(0.01, 2))'?",
    'tag("if y=SGD" interval(0 0.99))': "did you mean 'x=tag(\"if y=SGD\", interval(0, 0.99))'?",
    "{name: SGD, lr: interval(0.01, 2)}": "interval() must be the whole value of a setting",
    "{name: SGD, lr: interval(0.01 2)}": "interval() must be the whole value of a setting",
    "[choice(1,2),3]": "choice() must be the whole value of a setting",
}
RIGHT = ("interval(0.01, 2)", "tag(log, interval(0.01, 2))", "choice([1,2],[3,4])", "int(interval(1,5))", "a,b", "5",
         "Interval (1)", "naïve(1 2)", "a(1", "'interval(0.01 2)'", "{a: 1}", "null", "choice('a b')")  # fmt: skip


@pytest.mark.parametrize("value", MISTAKES)
def test_a_mistyped_function_is_named_with_what_to_write(value):
    said = misread(f"x={value}")
    assert said is not None and said.startswith(f"x={value}: ") and MISTAKES[value] in said


@pytest.mark.parametrize("value", RIGHT)
def test_what_is_right_or_means_something_else_is_left_alone(value):
    assert misread(f"x={value}") is None


def test_from_python_and_in_the_file_of_a_space():
    with pytest.raises(UserError, match=r"did you mean 'algo\.inner_optimizer\.lr=interval\(0\.01, 2\)'"):
        metalearn.compose("algo.inner_optimizer.lr=interval(0.01 2)")
    with pytest.raises(UserError, match=r"did you mean 'x=range\(1, 6\)'"):
        parse(["x=range(1 6)"])
