"""The command: what it writes, and mistakes."""

from metalearn import compare


def test_the_command_writes_beside_the_runs_and_mistakes_are_one_line(sweep, capfd):
    assert compare.main([str(sweep)]) == 0
    assert (sweep / "comparison.csv").exists() and (sweep / "comparison.png").stat().st_size > 10_000
    assert "* best by validation" in capfd.readouterr().out
    for words, message in (([str(sweep / "no")], "no such folder"), ([str(sweep / "0" / "x")], "no such folder"),
                           ([str(sweep), "--figure", "x.txt"], "must end in .png")):  # fmt: skip
        assert compare.main(words) == 2
        assert message in capfd.readouterr().err
