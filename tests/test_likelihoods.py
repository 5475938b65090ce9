"""Every family as a VAE's likelihood: trained with several draws of z, scored, sampled, saved; what it refuses."""

import re

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats

import keras_vae
from keras_vae import layers, scales
from keras_vae.support import Support

RNG = np.random.default_rng(0)
NUM = 48
COUNTS = RNG.negative_binomial(1.0, 0.3, (NUM, 3))
LEVELS = RNG.integers(0, 16, (NUM, 4, 4, 2))

# A layer, and data that it scores.
FAMILIES = {
    "ContinuousBernoulli": (lambda: layers.ContinuousBernoulli((4, 2)), RNG.uniform(size=(NUM, 4, 2))),
    "Beta": (lambda: layers.Beta(3), RNG.beta(2.0, 3.0, (NUM, 3))),
    "Poisson": (lambda: layers.Poisson(3), COUNTS),
    "NegativeBinomial": (lambda: layers.NegativeBinomial(3, scale=scales.PerDimension()), COUNTS),
    "ZeroInflatedNegativeBinomial": (
        lambda: layers.ZeroInflatedNegativeBinomial(3, scale=scales.PerDimension()),
        COUNTS,
    ),
    "Categorical": (lambda: layers.Categorical(3, levels=5), RNG.integers(0, 5, (NUM, 3))),
    "DiscretizedLogistic": (
        lambda: layers.DiscretizedLogistic((4, 4, 2), levels=16, scale=scales.Optimal(), activation="sigmoid"),
        LEVELS,
    ),
    "DiscretizedLogisticMixture": (
        lambda: layers.DiscretizedLogisticMixture((4, 4, 2), components=2, levels=16),
        LEVELS,
    ),
    "IndependentStudentT": (lambda: layers.IndependentStudentT(3), RNG.standard_t(2.0, (NUM, 3))),
}


def vae_of(likelihood, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(16, "tanh"), layers.IndependentNormal(2, name="posterior")]
    )
    decoder = keras.Sequential([keras.layers.Dense(16, "tanh"), likelihood])
    return keras_vae.VAE(encoder, decoder, seed=0, **kwargs)


IN_MIXED_PRECISION = ("ContinuousBernoulli", "DiscretizedLogisticMixture", "ZeroInflatedNegativeBinomial")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vae_of_every_family_trains_scores_draws_and_comes_back(family, tmp_path):
    make, x = FAMILIES[family]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if family in IN_MIXED_PRECISION else before)
    try:
        vae = vae_of(make(), objective=keras_vae.objectives.ELBO(num_samples=3))
    finally:
        keras.config.set_dtype_policy(before)
    vae.compile(keras.optimizers.Adam(0.01))
    history = vae.fit(x, batch_size=16, epochs=4, verbose=0).history["nll"]
    assert np.isfinite(history).all() and history[-1] < history[0]

    support = vae.support
    draws = vae.generate(50, seed=1, sample=True).numpy()
    assert draws.shape == (50, *x.shape[1:]) and draws.dtype == "float32"
    assert not support.outside(draws).any()
    means = vae.generate(50, seed=1).numpy()
    assert np.isfinite(means).all() and means.min() >= support.low and means.max() <= support.high
    assert vae.reconstruct(x[:5]).shape == x[:5].shape

    vae.save(tmp_path / "vae.keras")
    same = keras.saving.load_model(tmp_path / "vae.keras")
    z = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")
    np.testing.assert_array_equal(same.decode(z).log_prob(x[:5]), vae.decode(z).log_prob(x[:5]))


# What is outside a support, and is named with the family, the support and the first offending value.

OUTSIDE = {
    "ContinuousBernoulli": (1.5, r"ContinuousBernoulli scores x in \[0, 1\]; received 1.5 at position \[3, 1, 1\]"),
    "Beta": (0.0, r"Beta scores 0 < x < 1, both ends excluded; received 0.0 at .*Squeeze x a little"),
    "Poisson": (-1, r"Poisson scores counts: whole numbers from 0 on; received -1 at"),
    "NegativeBinomial": (2.5, r"NegativeBinomial scores counts: whole numbers from 0 on; received 2.5 at"),
    "ZeroInflatedNegativeBinomial": (-3, r"ZeroInflatedNegativeBinomial scores counts: .*; received -3 at"),
    "Categorical": (5, r"Categorical scores whole numbers from 0 to 4; received 5 at position \[3, 1\]"),
    "DiscretizedLogistic": (16, r"DiscretizedLogistic scores whole numbers from 0 to 15; received 16 at"),
    "DiscretizedLogisticMixture": (0.5, r"DiscretizedLogisticMixture scores whole numbers from 0 to 15; received 0.5"),
}


@pytest.mark.parametrize("family", OUTSIDE)
def test_data_outside_the_support_is_named_before_training(family):
    make, x = FAMILIES[family]
    value, message = OUTSIDE[family]
    bad = x.astype("float64" if isinstance(value, float) else x.dtype)
    bad[(3, *(1 for _ in x.shape[1:]))] = value
    vae = vae_of(make())
    vae.compile("adam")
    with pytest.raises(ValueError, match=message):
        vae.fit(bad, verbose=0)
    assert int(vae.optimizer.iterations) == 0


@pytest.mark.parametrize(
    "layer",
    [
        layers.IndependentBernoulli,
        layers.ContinuousBernoulli,
        layers.Beta,
        layers.Poisson,
        layers.DiscretizedLogisticMixture,
    ],
    ids=lambda layer: layer.__name__,
)
def test_a_scale_for_a_family_that_has_none_is_refused(layer):
    with pytest.raises(ValueError, match=rf"{layer.__name__}: expected no `scale`, since this family takes none"):
        layer((2, 2, 1), scale=scales.Shared())


def test_the_optimal_scale_of_counts_is_refused():
    with pytest.raises(ValueError, match="NegativeBinomial: expected a scale that is fixed or learned"):
        layers.NegativeBinomial(3, scale=scales.Optimal())


# What families say beside their density.


def test_the_mode_and_the_cdf_of_extra_zeros_know_of_them():
    layer = layers.ZeroInflatedNegativeBinomial(1, scale=0.3, projection=False)
    distribution = layer(np.array([[np.log(8.0), 3.0], [np.log(8.0), -3.0]], "float32"))
    np.testing.assert_array_equal(distribution.mode(), [[0.0], [7.0]])
    shape, zero = 1 / 0.3**2, scipy.special.expit([3.0, -3.0])
    counts = scipy.stats.nbinom(shape, shape / (shape + 8.0))
    for x in (0.0, 3.0):
        expected = zero + (1 - zero) * counts.cdf(x)
        np.testing.assert_allclose(distribution.cdf(np.full((2, 1), x, "float32")), expected, rtol=1e-5)
    np.testing.assert_array_equal(distribution.cdf(np.full((2, 1), -1.0, "float32")), [0.0, 0.0])


def test_counts_of_an_extreme_spread_have_a_finite_mean_and_draws():
    layer = layers.NegativeBinomial(2, projection=False)
    distribution = layer(np.array([[1e4, 30.0, 1e4, 60.0]], "float32"))
    np.testing.assert_allclose(distribution.mean(), np.exp([[30.0, 30.0]]), rtol=1e-5)
    assert np.isfinite(distribution.sample(100, seed=0)).all()


@pytest.mark.parametrize("x", [7.0, -1.0, 0.5, np.nan])
def test_what_is_no_level_has_no_probability(x):
    distribution = layers.Categorical(2, levels=3)(np.ones((1, 4), "float32"))
    assert distribution.log_prob(np.array([[1.0, x]], "float32"))[0] == -np.inf


def test_moments_of_many_levels_do_not_cancel():
    """Of 65,536 levels in float32, of which s is one: the variance is the logistic's, pi^2 / 3, and rounding's."""
    layer = layers.DiscretizedLogistic(64, levels=2**16, scale=1.0 / 2**16, projection=False)
    distribution = layer(np.random.default_rng(0).uniform(0.1, 0.9, (1, 64)).astype("float32"))
    np.testing.assert_allclose(distribution.variance(), np.full((1, 64), np.pi**2 / 3 + 1 / 12), rtol=0.01)


@pytest.mark.parametrize(
    ("support", "x", "advice"),
    [
        (layers.IndependentBernoulli(1)(np.ones((1, 1))).support, 200.0, "Pixels in 0..255"),
        (layers.IndependentBernoulli(1)(np.ones((1, 1))).support, 1.5, "outside.$"),
        (layers.Beta(1)(np.ones((1, 1))).support, 1.02, "Squeeze x a little"),
        (layers.Categorical(1, levels=2)(np.ones((1, 1))).support, 2.0, "Levels are counted from 0"),
    ],
    ids=str,
)
def test_the_advice_is_of_the_family(support, x, advice):
    assert re.search(advice, str(support.error(np.array([0.5 * support.is_open, x]), "x")))


def test_a_number_that_is_rounded_to_an_open_end_is_refused():
    beta = layers.Beta(1)(np.ones((1, 1))).support
    x = np.array([0.5, 1.0 - 1e-10])
    assert beta.for_dtype("float64", "float64").error(x, "x") is None
    assert "first of 1 value(s) outside" in str(beta.for_dtype("float64", "float32").error(x, "x"))


@pytest.mark.parametrize(
    "support",
    [
        Support("F", "x >= 1", low=1.0),
        Support("F", "x <= -3", high=-3.0),
        Support("F", "x < -3", high=-3.0, is_open=True),
        Support("F", "x > 2", low=2.0, is_open=True),
        Support("F", "real"),
        Support("F", "0, 1", 0.0, 1.0, is_integer=True),
    ],
    ids=lambda support: support.words,
)
def test_some_value_is_inside(support):
    assert not support.outside(np.array([support.some_value])).any()
