"""Every family as a VAE's likelihood: trained with several draws of z, scored, sampled, saved; what it refuses."""

import keras
import numpy as np
import pytest

import keras_vae
from keras_vae import layers, scales

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
    with pytest.raises(ValueError, match=rf"{layer.__name__}: expected no `scale`, since this family has none"):
        layer((2, 2, 1), scale=scales.Shared())


def test_the_optimal_scale_of_counts_is_refused():
    with pytest.raises(ValueError, match="NegativeBinomial: expected a scale that is fixed or learned"):
        layers.NegativeBinomial(3, scale=scales.Optimal())
