"""The table of signal-to-noise ratios: its smallest case, and that a ratio which goes the wrong way is refused."""

import pytest
from scripts import module_of


@pytest.fixture(scope="module")
def example():
    return module_of("signal_to_noise")


@pytest.mark.slow
def test_the_ratios_go_where_the_theory_says(example, tmp_path, capsys):
    """The prior's grows as the square root of the draws, within 15%; both gradients are the same there."""
    rows = example.main(["--quick", "--out", str(tmp_path / "made")])
    of_prior = {(row[0], row[1]): row[3] for row in rows}
    assert of_prior["plain", 100] / of_prior["plain", 10] == pytest.approx(10**0.5, rel=0.15)
    assert of_prior["plain", 100] == pytest.approx(of_prior["dreg", 100], rel=1e-3)
    written = (tmp_path / "made" / "table.md").read_text()
    assert "| dreg | mu |" in written and written in capsys.readouterr().out


def test_a_ratio_that_goes_the_other_way_ends_the_script_with_an_error(example):
    rows = [("plain", 1, 1.0, 1.0), ("plain", 9, 0.5, 2.0), ("dreg", 1, 1.0, 1.0), ("dreg", 9, 2.0, 3.0)]
    example.check(rows)
    with pytest.raises(SystemExit, match="Expected the ratio of dreg to grow; found"):
        example.check([*rows[:3], ("dreg", 9, 0.1, 3.0)])
