"""The linear VAE against scikit-learn's PCA: its smallest case, and that a result which misses a bar is refused."""

import math

import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def example():
    return module_of("linear_vae_is_ppca")


@pytest.mark.slow
def test_two_latents(example, tmp_path, capsys):
    folder = tmp_path / "made" / "here"
    (result,) = example.main(["--latents", "2", "--out", str(folder)])

    x_train, x_test = example.load_digits(seed=0)
    pca = PCA(2, svd_solver="full").fit(x_train)
    # The noise of 1,000 draws for each of 297 images has a standard deviation of about 0.002 nats.
    assert result.elbo == pytest.approx(pca.score(x_test), abs=0.1)
    assert result.log_likelihood == pytest.approx(pca.score(x_test), abs=0.1)
    assert result.variance == pytest.approx(pca.noise_variance_, rel=0.01)
    # By projection, not by the example's function: what of the columns lies outside PCA's plane.
    columns = result.columns / np.linalg.norm(result.columns, axis=1, keepdims=True)
    outside = columns - columns @ pca.components_.T @ pca.components_
    assert np.linalg.norm(outside, axis=1).max() < math.sin(math.radians(1))
    # The lengths too: W W' + sigma^2 I has the covariance's leading eigenvalues. Measured: within 0.2%.
    eigenvalues = np.linalg.svd(result.columns, compute_uv=False) ** 2 + result.variance
    np.testing.assert_allclose(eigenvalues, pca.explained_variance_, rtol=0.02)

    picture = imread(folder / "linear_vae_is_ppca.png")[..., :3]
    assert 600 <= picture.shape[0] <= 1200 and 1000 <= picture.shape[1] <= 1600
    assert len(np.unique(picture)) > 50
    printed = capsys.readouterr().out
    assert f"{result.elbo:.4f}" in printed and f"{result.pca_variance:.6f}" in printed
    assert str(folder / "linear_vae_is_ppca.png") in printed

    missed = {
        "ELBO": {"elbo": result.pca_score - 0.11},
        r"sigma\^2": {"variance": result.pca_variance * 1.011},
        "angle": {"angle": math.nan},
    }
    for name, change in missed.items():
        with pytest.raises(AssertionError, match=f"2 latents: {name}: expected at most"):
            example.check([result, result._replace(**change)])


def test_digits_are_held_out(example):
    x_train, x_test = example.load_digits(seed=1)
    assert (x_train.shape, x_test.shape) == ((1500, 64), (297, 64))
    both = np.concatenate([x_train, x_test])
    np.testing.assert_array_equal(both, both.astype("float32"))  # what the VAE sees is what PCA sees
    originals = load_digits().data / 16
    np.testing.assert_array_equal(both[np.lexsort(both.T)], originals[np.lexsort(originals.T)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latents", "2", "0"], r"--latents: expected integers from 1 to 60; received: [2, 0]"),
        (["--latents", "61"], r"--latents: expected integers from 1 to 60; received: [61]"),
        (["--seed", "-1"], "--seed: expected an integer from 0 to 2**32 - 1; received: -1"),
    ],
)
def test_bad_arguments(example, capsys, tmp_path, arguments, message):
    with pytest.raises(SystemExit):
        example.parse_arguments([*arguments, "--out", str(tmp_path / "out")])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"
