"""The derivation, as a person runs it in small: its checks pass, its numbers are right, and a wrong one raises."""

import math

import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of


@pytest.fixture(scope="module")
def example():
    return module_of("mse_is_gaussian_nll")


@pytest.mark.slow
def test_the_account(example, tmp_path, capsys):
    folder = tmp_path / "made" / "here"
    found = example.main(["--out", str(folder), "--steps", "30", "--epochs", "40"])
    printed = capsys.readouterr().out
    assert "All checks passed" in printed
    for line, text in example.DERIVATION.items():
        assert f"  {line:<3} {text}" in printed, f"line {line} was not checked"

    # The lines of one image, from the data alone.
    x = example.load_digits(0)[:1500]
    variances = np.maximum(x.var(0), 0.05**2)
    assert found["rms"] == pytest.approx(np.sqrt(np.mean((x[0] - x.mean(0)) ** 2)), rel=1e-12)
    assert found["sigma"] == pytest.approx(found["rms"], rel=1e-6)
    assert found["wrong_sigma"] == pytest.approx(math.sqrt(found["rms"]), rel=1e-6)
    assert found["slip"] == pytest.approx(variances.sum() - np.log(np.prod(variances)), rel=1e-12)
    assert found["slip"] > 64  # a nat an element, at the least

    # Measured: 2e-16 to 1e-15 where the losses are one loss, and 6e-3 and 4e-2 where they are not.
    gaps = found["gaps"]
    assert all(len(gap) == 31 and gap[0] == 0 for gap in gaps.values())
    same = ["SGD: SSE + 2 sigma^2 KL", "SGD: MSE + 2 sigma^2 / D KL", "SGD: likelihood, sigma / 2, beta = 4"]
    for name in [*same, "Adam: MSE + 2 sigma^2 / D KL"]:
        assert gaps.pop(name).max() < 1e-13, name
    assert set(gaps) == {"Adam: the same, epsilon as it was", "Adam: MSE + KL, as often seen"}
    assert all(gap[-1] > 1e-3 for gap in gaps.values())

    rows = found["rows"]
    learned = rows["learned"]
    assert learned["sigma"] == pytest.approx(learned["rms"], rel=0.03)
    for sigma in (1.0, 0.3, 0.1):
        assert rows[sigma]["sigma"] == pytest.approx(sigma, rel=1e-6)
        assert learned["elbo"] > rows[sigma]["elbo"] + 1
    assert rows[1.0]["kl"] < 0.05 < 3 < rows[0.3]["kl"] < rows[0.1]["kl"]
    # With no latent in use the error is that of the mean image, and the NLL that of a Gaussian of sigma 1.
    assert rows[1.0]["rms"] == pytest.approx(math.sqrt(x.var(0).mean()), rel=0.01)
    assert rows[1.0]["nll"] == pytest.approx(32 * (math.log(2 * math.pi) + x.var(0).mean()), rel=0.01)
    for row in rows.values():
        assert row["elbo"] == pytest.approx(-row["nll"] - row["kl"], abs=1e-9)
        assert row["mended"] > row["elbo"] - 0.5  # sigma is set on the training images, scored on others

    picture = imread(folder / "mse_is_gaussian_nll.png")[..., :3]
    assert picture.shape[0] < picture.shape[1] <= 2000
    assert picture.std() > 0.05, "all but blank"


@pytest.mark.parametrize("wrong", [1.0 + 1e-9, math.nan, math.inf])
def test_a_check_that_fails_raises(example, capsys, wrong):
    with pytest.raises(ArithmeticError, match=r"7: expected 1\.0; received"):
        example.check("7", 1.0, wrong)
    assert "differ by" in capsys.readouterr().out, "the numbers are shown first"


def test_the_slip_would_be_caught(example, monkeypatch):
    """With the sum of the variances for the sum of the logs, line 4 of the derivation does not hold."""
    monkeypatch.setattr(example.keras_vae.ops, "gaussian_nll", lambda x, mu, log_variance: np.sum(np.exp(log_variance)))
    with pytest.raises(ArithmeticError, match="4b: expected"):
        example.derivation(example.load_digits(0)[:1500])


@pytest.mark.parametrize("option", ["--steps", "--epochs"])
def test_bad_arguments(example, capsys, tmp_path, option):
    with pytest.raises(SystemExit) as error:
        example.parse_arguments(["--out", str(tmp_path / "out"), option, "0"])
    assert error.value.code == 2
    assert f"{option}: expected an integer from 1 to 2**31 - 1; received: 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"
