"""The plugin of Hydra imports what a search needs only when one is asked for."""

import subprocess
import sys

import pytest

from hydra_plugins.metalearn_search.sweeper import _search
from metalearn.runtime.errors import UserError


@pytest.mark.parametrize("package", ["optuna", "cmaes"])
def test_a_missing_package_is_one_line(package, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("metalearn.search")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        _search()
    assert str(error.value) == f"search=: needs {package}; in the clone: pip install '.[search]'"


@pytest.mark.integration
def test_the_plugin_imports_nothing_heavy():
    code = "import sys, hydra_plugins.metalearn_search.sweeper; print({'torch', 'optuna', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
