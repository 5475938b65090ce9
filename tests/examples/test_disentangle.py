"""Objectives for independent latents on drawn shapes, in small: what is measured, drawn, kept, and said of papers."""

import json

import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of

from keras_vae import backend, objectives


@pytest.fixture(scope="module")
def disentangle():
    return module_of("disentangle")


@pytest.fixture
def small(disentangle, monkeypatch):
    """Small networks and few images, whose steps are compiled without XLA: a fourth of the wait before the first."""
    monkeypatch.setattr(backend, "xla_choice", lambda layers: (False, "for a test"))
    sizes = {"HIDDEN": (8, 8), "LATENTS": 3, "HELD_OUT": 128, "QUICK_IMAGES": 640, "QUICK_DRAWS": 20}
    for name, value in sizes.items():
        monkeypatch.setattr(disentangle, name, value)


@pytest.mark.slow
def test_a_run_is_scored_drawn_and_gone_on_with(disentangle, small, tmp_path, capsys):
    arguments = ["--quick", "--out", str(tmp_path), "--objectives", "vae", "beta_vae_4", "beta_tc", "factor_vae"]
    results = disentangle.main([*arguments, "--epochs", "1"])
    assert list(results) == ["vae", "beta_vae_4", "factor_vae", "beta_tc"]  # in the order of the table
    assert all(np.isfinite(result["total_correlation"]) and result["epochs"] == 1 for result in results.values())
    table = (tmp_path / "table.md").read_text()
    assert table.count("\n- ") == 3 and "- beta-TCVAE, beta = 6, against beta-VAE, beta = 4: MIG " in table
    overview, single = (imread(tmp_path / f"{name}.png") for name in ("traversals", "vae"))
    assert overview.shape[1] < 1600 and overview.shape[0] == 2 * single.shape[0]  # 3 panels abreast, and 1 below
    assert overview[..., :3].std() > 0.05

    again = disentangle.main([*arguments[:-3], "--epochs", "2"])  # the VAE alone, by one epoch more
    assert json.loads((tmp_path / "vae.json").read_text())["results"] == [results["vae"], again["vae"]]
    assert (tmp_path / "table.md").read_text().count("\n- ") == 0 and "Written to" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--epochs: expected at least 2"):
        disentangle.main([*arguments, "--epochs", "1"])


def test_all_models_begin_alike(disentangle):
    weights = [disentangle.build(name, 3).encoder.get_weights() for name in ("vae", "factor_vae")]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, (_, make) in disentangle.OBJECTIVES.items():
        assert isinstance(make(), objectives.Objective), name


def test_a_claim_is_held_against_the_beta_vae_whose_nll_is_nearest(disentangle):
    def result(nll, gap, score):
        return {"nll": nll, "gaps": [gap, gap], "factor_score": score}

    results = {
        "vae": result(90.0, 0.1, 0.5),
        "beta_vae_2": result(100.0, 0.2, 0.6),
        "beta_vae_4": result(120.0, 0.3, 0.7),
        "factor_vae": result(121.0, 0.4, 0.8),
        "dip_vae": result(80.0, 0.3, 0.5),
    }
    claims = disentangle.claims(results)
    assert [claim.split(":")[0].removeprefix("- ") for claim in claims] == [
        "beta-VAE, beta = 2, against VAE",
        "beta-VAE, beta = 4, against VAE",
        "FactorVAE, gamma = 35, against beta-VAE, beta = 4",
        "DIP-VAE-II, lambda = 10, against beta-VAE, beta = 2",
    ]
    assert claims[2].endswith("better by both.")
    assert claims[3].endswith("undecided, the measures disagree, while it reconstructs better.")


def test_every_image_is_of_its_factors():
    shapes = module_of("shapes")
    images, factors = shapes.draw_shapes()
    assert images.shape == (30_720, 32, 32) and images.min() == 0.0 and images.max() == 1.0
    assert len(np.unique(factors, axis=0)) == len(factors) and len({image.tobytes() for image in images}) == len(images)
    number = np.flatnonzero((factors == [1, 2, 3, 4, 5]).all(axis=1))[0]
    right = np.flatnonzero((factors == [1, 2, 3, 6, 5]).all(axis=1))[0]
    np.testing.assert_array_equal(np.roll(images[number], 2, axis=1), images[right])


def test_the_measures_of_posteriors_that_know_one_factor_each_are_the_best():
    """Of two factors, by latents that are all but sure: the gaps and the score are 1; of latents of noise near 0."""
    measures = module_of("disentanglement")
    factors = np.stack(np.divmod(np.arange(400), 20), axis=1) // 4
    rng = np.random.default_rng(0)
    for means, low, high in ((4.0 * factors, 0.95, 1.0), (rng.normal(size=(400, 2)), 0.0, 0.2)):
        stddevs = np.full((400, 2), 0.3)
        correlation, error, information = measures.aggregate(means.astype("float64"), stddevs, factors, 200)
        assert low <= measures.gaps(information).mean() <= high + 1e-6
        assert error > 0.0 and (low < 0.5 or abs(correlation) < 1e-6)  # a grid is independent
    assert measures.factor_score(4.0 * factors.astype("float64"), np.array([True, True]), factors) == 1.0
    assert measures.factor_score(4.0 * factors.astype("float64"), np.array([False, False]), factors) == 0.0
