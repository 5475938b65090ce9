"""The discretised logistic's best scale, and its mixture over channels, against every image that there is."""

import itertools

import checks
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from keras_vae import layers, scales

LEVELS, CHANNELS = 4, 3
EVERY_PIXEL = np.array(list(itertools.product(range(LEVELS), repeat=CHANNELS)), "float64")  # [64, 3]


def mixture(levels=LEVELS, batch=2, seed=0, spread=1.0):
    """A mixture of 2 for a single pixel of three channels, in float64, with random parameters."""
    layer = layers.DiscretizedLogisticMixture(
        (1, CHANNELS), components=2, levels=levels, projection=False, dtype="float64"
    )
    features = np.random.default_rng(seed).normal(size=(batch, layer.units()))
    features[:, 2 + 2 * CHANNELS : 2 + 4 * CHANNELS] -= 2.0  # log s^2
    features[:, 2 : 2 + 2 * CHANNELS] *= spread  # mu
    return layer(features)


def table(distribution, pixels=EVERY_PIXEL):
    """Each pixel's probability, `[B, pixels]`, with SciPy's cdf and the sum over components written out."""
    levels = distribution.levels
    logits, loc, log_scale, coefficients = (
        np.asarray(getattr(distribution, name))[:, 0] for name in ("logits", "loc", "log_scale", "coefficients")
    )
    grey = pixels / (levels - 1)
    total = 0.0
    for k in range(2):
        component = np.exp(logits[:, k]) / np.exp(logits).sum(axis=-1)
        for c, earlier in enumerate([[], [(0, 0)], [(1, 0), (2, 1)]]):
            shift = sum(coefficients[:, k, a, None] * (grey[None, :, j] - 0.5) for a, j in earlier)
            frozen = scipy.stats.logistic(loc[:, k, c, None] + shift, np.exp(log_scale[:, k, c, None]))
            low = np.where(pixels[:, c] == 0, -np.inf, (pixels[:, c] - 0.5) / (levels - 1))
            high = np.where(pixels[:, c] == levels - 1, np.inf, (pixels[:, c] + 0.5) / (levels - 1))
            component = np.reshape(component, (len(loc), -1)) * (frozen.cdf(high) - frozen.cdf(low))
        total = total + component
    return total


def test_the_mixtures_probabilities_are_those_written_out_and_sum_to_one():
    distribution = mixture()
    with checks.uncompiled():
        log_prob = distribution.log_prob(EVERY_PIXEL[:, None, None, :]).numpy().T  # [B, 64]
    np.testing.assert_allclose(np.exp(log_prob), table(distribution), rtol=1e-9)
    np.testing.assert_allclose(np.exp(log_prob).sum(axis=-1), 1.0, rtol=1e-10)


def test_the_mixtures_draws_have_these_probabilities():
    """A chi-square test on the counts of all 64 pixels. False-alarm rate: 2e-6 (1e-6 for each of two examples)."""
    distribution = mixture()
    draws = distribution.sample(200_000, seed=(1, 2)).numpy()[:, :, 0].astype(int)
    for example, probabilities in enumerate(table(distribution)):
        counts = np.zeros((LEVELS,) * CHANNELS)
        np.add.at(counts, tuple(draws[:, example].T), 1)
        expected = 200_000 * probabilities
        assert expected.min() > 5  # or the test is no chi-square's
        assert scipy.stats.chisquare(counts.reshape(-1), expected * counts.sum() / expected.sum()).pvalue > 1e-6


def test_the_mixtures_mean_is_exact_but_for_the_ends():
    """With 32 levels, and pixels that seldom meet the ends: to a hundredth of a level."""
    distribution = mixture(levels=32, spread=0.1)
    distribution.log_scale = distribution.log_scale - 1.5
    pixels = np.array(list(itertools.product(range(32), repeat=CHANNELS)), "float64")
    expected = table(distribution, pixels) @ pixels
    np.testing.assert_allclose(distribution.mean()[:, 0], expected, atol=0.05)
    # The first channel is shifted by none: its mean is exact.
    np.testing.assert_allclose(distribution.mean()[:, 0, 0], expected[:, 0], rtol=1e-10)
    with pytest.raises(NotImplementedError, match="channel that others shift"):
        distribution.variance()


@pytest.mark.parametrize(
    ("event_shape", "features", "on_grid"),
    [((4, 4, 3), (4, 4, 8), True), ((4, 4, 3), (10,), False), ((5, 4), (5, 4, 8), False), ((3,), (7,), True)],
    ids=str,
)
def test_the_mixture_takes_a_pixels_parameters_from_its_own_features(event_shape, features, on_grid):
    layer = layers.DiscretizedLogisticMixture(event_shape, components=2)
    x = np.random.default_rng(0).normal(size=(2, *features)).astype("float32")
    distribution = layer(x)
    assert tuple(distribution.event_shape) == event_shape
    channels = event_shape[-1]
    a_pixel = 2 * (1 + 2 * channels + channels * (channels - 1) // 2)
    pixels = int(np.prod(event_shape[:-1]))
    units = a_pixel if on_grid else pixels * a_pixel
    assert layer.weights[0].shape == (features[-1] if on_grid else np.prod(features), units)
    assert layer.units() == layers.DiscretizedLogisticMixture.params_size(event_shape, components=2) == pixels * a_pixel


def test_the_optimal_scale_is_scipys():
    rng = np.random.default_rng(0)
    features, x = rng.normal(size=(16, 5)).astype("float32"), rng.integers(0, 20, (16, 3)).astype("float32")
    layer = layers.DiscretizedLogistic(3, levels=20, scale=scales.Optimal(floor=1e-9), activation="sigmoid")
    loc = np.float64(layer(features).loc)
    _, (fit,) = layer(features, training=True).fitted_to(x)
    fit.commit()

    def nll(log_scale):
        frozen = scipy.stats.logistic(loc, np.exp(log_scale))
        low = np.where(x == 0, -np.inf, (x - 0.5) / 19)
        return -np.log(frozen.cdf(np.where(x == 19, np.inf, (x + 0.5) / 19)) - frozen.cdf(low)).sum()

    best = scipy.optimize.minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}).x
    np.testing.assert_allclose(layer.scale.value(), np.exp(best), rtol=2e-5)


@pytest.mark.parametrize("levels", [1, 0, -3, 2.5, True, "256", None])
@pytest.mark.parametrize(
    "layer", [layers.DiscretizedLogistic, layers.DiscretizedLogisticMixture, layers.IndependentCategorical]
)
def test_levels_that_are_no_levels_are_refused(layer, levels):
    with pytest.raises(ValueError, match=rf"{layer.__name__}: expected `levels` to be an integer >= 2; "):
        layer((2, 2, 1), levels=levels)


def test_a_mixture_needs_channels_and_components():
    with pytest.raises(ValueError, match="expected an event shape with channels as its last axis"):
        layers.DiscretizedLogisticMixture(())
    with pytest.raises(ValueError, match="expected `components` to be an integer >= 1; received: 0"):
        layers.DiscretizedLogisticMixture((2, 2, 1), components=0)
    with pytest.raises(ValueError, match=r"DiscretizedLogisticMixture: expected `floor` .* positive.*received: 0"):
        layers.DiscretizedLogisticMixture((2, 2, 1), floor=0)
