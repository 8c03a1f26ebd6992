"""The dashboard of W&B by its serialised definition, which no server has shown yet."""

import json
from pathlib import Path

import pytest

from metalearn.runtime.errors import UserError
from metalearn.trackers import dashboard

EXPECTED = Path(__file__).parent / "dashboard.json"  # [section, panel's type, its settings]


def panels(made):
    sections = dashboard.definition(made)["section"]["panelBankConfig"]["sections"]
    return [
        [section["name"], panel["viewType"], panel["config"]] for section in sections for panel in section["panels"]
    ]


def named(made):
    """The metrics, tables and pictures that panels name; settings of trials are left out."""
    metrics, found = set(), panels(made)
    for _, _, config in found:
        metrics |= set(config.get("metrics", [])) | set(config.get("mediaKeys", []))
        for query in config.get("userQuery", {}).get("queryFields", []):
            metrics |= {arg["value"] for field in query["fields"] for arg in field.get("args", [])}
    return metrics


def test_the_serialised_definition():
    assert panels(dashboard.workspace("me/mine")) == json.loads(EXPECTED.read_text())


def test_a_study_alone_with_its_own_settings_and_score():
    found = dashboard.definition(dashboard.workspace("team/p", "rates", ["algo.inner_steps"], "mse"))
    (runs,) = found["section"]["runSets"]
    (shown,) = runs["filters"]["filters"]
    assert (shown["key"]["name"], shown["op"], shown["value"]) == ("group", "=", "rates")
    (order,) = runs["sort"]["keys"]
    assert order["key"] == {"section": "summary", "name": "val/mse.min"} and order["ascending"]
    assert runs["runFeed"]["columnOrder"] == ["run:displayName", "summary:val/mse.min", "config:algo.inner_steps"]
    text = json.dumps(found)
    assert "val/mse" in text and "accuracy" not in text and "outer.optimizer.lr" not in text


@pytest.mark.parametrize("where", ["me", "/p", "me/", "a/b/c"])
def test_a_wrong_place_is_one_line(where, capsys):
    assert dashboard.main([where]) == 2
    assert capsys.readouterr().err == f"metalearn: {where}: give USER/PROJECT\n"


def test_a_missing_package_is_one_line(monkeypatch):
    import builtins

    real = builtins.__import__
    monkeypatch.setattr(dashboard.importlib, "import_module", lambda name: real(f"{name}_missing"))
    with pytest.raises(UserError, match=r"needs wandb-workspaces; in the clone: pip install '\.\[dashboard\]'"):
        dashboard.workspace("me/p")


def test_the_definition_is_printed_and_nothing_is_sent(capsys, monkeypatch):
    import wandb_workspaces.workspaces as ws

    monkeypatch.setattr(ws.Workspace, "save", lambda self: pytest.fail("sent"))
    assert dashboard.main(["me/p", "--json", "--study", "s"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == dashboard.definition(dashboard.workspace("me/p", "s"))


def test_a_failing_server_is_one_line(capsys, monkeypatch):
    import wandb_workspaces.workspaces as ws

    def fails(self):
        raise RuntimeError("No API key\nconfigured")

    monkeypatch.setattr(ws.Workspace, "save", fails)
    assert dashboard.main(["me/p"]) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith("metalearn: W&B has not saved the dashboard (No API key configured)")
        and error.count("\n") == 1
    )
