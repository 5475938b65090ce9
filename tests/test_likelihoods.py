"""Every family as a VAE's likelihood: trained with several draws of z, scored, sampled, saved; what it refuses."""

import re

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from cases import CASES
from checks import dtype_policy

import keras_vae
from keras_vae import layers, scales
from keras_vae.data.support import Support

FAMILIES = {type(case.make()).__name__: case for case in CASES}  # one row each
# And in one XLA program; a layer's own checks have all families there.
IN_MIXED_PRECISION = ("IndependentContinuousBernoulli", "DiscretizedLogisticMixture", "ZeroInflatedNegativeBinomial")


def data_of(case):
    return case.draw_x(np.random.default_rng(0), (48, *case.event_shape))


def vae_of(likelihood, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(16, "tanh"), layers.IndependentNormal(2, name="posterior")]
    )
    decoder = keras.Sequential([keras.layers.Dense(16, "tanh"), likelihood])
    return keras_vae.VAE(encoder, decoder, seed=0, **kwargs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vae_of_every_family_trains_scores_draws_and_comes_back(family, tmp_path):
    case = FAMILIES[family]
    x = data_of(case)
    with dtype_policy("mixed_bfloat16" if family in IN_MIXED_PRECISION else "float32"):
        vae = vae_of(case.make(), objective=keras_vae.objectives.ELBO(num_samples=3))
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=family in IN_MIXED_PRECISION)
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
    "IndependentBernoulli": (-0.5, r"x in \[0, 1\]; received -0.5"),
    "IndependentContinuousBernoulli": (1.5, r"x in \[0, 1\]; received 1.5"),
    "IndependentBeta": (0.0, r"0 < x < 1, both ends excluded; received 0.0 at .*Squeeze x a little"),
    "IndependentPoisson": (-1, "counts: whole numbers from 0 on; received -1"),
    "IndependentNegativeBinomial": (2.5, "counts: whole numbers from 0 on; received 2.5"),
    "ZeroInflatedNegativeBinomial": (-3, "counts: whole numbers from 0 on; received -3"),
    "IndependentCategorical": (5, "whole numbers from 0 to 4; received 5"),
    "DiscretizedLogistic": (20, "whole numbers from 0 to 19; received 20"),
    "DiscretizedLogisticMixture": (0.5, "whole numbers from 0 to 19; received 0.5"),
}


def test_every_family_whose_support_is_not_the_real_line_is_tried():
    bounded = {name for name, case in FAMILIES.items() if case.make()(np.ones((1, *case.features))).support.low == 0.0}
    assert set(OUTSIDE) == bounded


@pytest.mark.parametrize("family", OUTSIDE)
def test_data_outside_the_support_is_named_before_training(family):
    value, words = OUTSIDE[family]
    bad = data_of(FAMILIES[family])
    bad = bad.astype("float64" if isinstance(value, float) else bad.dtype)
    place = (3, *(size - 1 for size in bad.shape[1:]))
    bad[place] = value
    vae = vae_of(FAMILIES[family].make())
    vae.compile("adam")
    with pytest.raises(ValueError, match=rf"{family} scores {words}") as refusal:
        vae.fit(bad, verbose=0)
    assert f"received {value} at position {list(place)}" in str(refusal.value)
    assert int(vae.optimizer.iterations) == 0


@pytest.mark.parametrize(
    "layer",
    [
        layers.IndependentBernoulli,
        layers.IndependentContinuousBernoulli,
        layers.IndependentBeta,
        layers.IndependentPoisson,
        layers.DiscretizedLogisticMixture,
    ],
    ids=lambda layer: layer.__name__,
)
def test_a_scale_for_a_family_that_has_none_is_refused(layer):
    with pytest.raises(ValueError, match=rf"{layer.__name__}: expected no `scale`, since this family takes none"):
        layer((2, 2, 1), scale=scales.Shared())


def test_the_optimal_scale_of_counts_is_refused():
    with pytest.raises(ValueError, match="IndependentNegativeBinomial: expected a scale that is fixed or learned"):
        layers.IndependentNegativeBinomial(3, scale=scales.Optimal())


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
    layer = layers.IndependentNegativeBinomial(2, projection=False)
    distribution = layer(np.array([[1e4, 30.0, 1e4, 60.0]], "float32"))
    np.testing.assert_allclose(distribution.mean(), np.exp([[30.0, 30.0]]), rtol=1e-5)
    assert np.isfinite(distribution.sample(100, seed=0)).all()


@pytest.mark.parametrize("x", [7.0, -1.0, 0.5, np.nan])
def test_what_is_no_level_has_no_probability(x):
    distribution = layers.IndependentCategorical(2, levels=3)(np.ones((1, 4), "float32"))
    assert distribution.log_prob(np.array([[1.0, x]], "float32"))[0] == -np.inf


def test_moments_of_many_levels_do_not_cancel():
    """Of 65,536 levels in float32, of which s is one: the variance is the logistic's, pi^2 / 3, and rounding's."""
    layer = layers.DiscretizedLogistic(8, levels=2**16, scale=1.0 / 2**16, projection=False)
    distribution = layer(np.random.default_rng(0).uniform(0.1, 0.9, (1, 8)).astype("float32"))
    np.testing.assert_allclose(distribution.variance(), np.full((1, 8), np.pi**2 / 3 + 1 / 12), rtol=0.01)


@pytest.mark.parametrize(
    ("support", "x", "advice"),
    [
        (layers.IndependentBernoulli(1)(np.ones((1, 1))).support, 200.0, "Pixels in 0..255"),
        (layers.IndependentBernoulli(1)(np.ones((1, 1))).support, 1.5, "outside.$"),
        (layers.IndependentBeta(1)(np.ones((1, 1))).support, 1.02, "Squeeze x a little"),
        (layers.IndependentCategorical(1, levels=2)(np.ones((1, 1))).support, 2.0, "Levels are counted from 0"),
    ],
    ids=str,
)
def test_the_advice_is_of_the_family(support, x, advice):
    assert re.search(advice, str(support.error(np.array([0.5 * support.is_open, x]), "x")))


def test_a_number_that_is_rounded_to_an_open_end_is_refused():
    beta = layers.IndependentBeta(1)(np.ones((1, 1))).support
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
    assert not support.outside(np.array([support.valid_value])).any()
