"""Gaussians of full and of low-rank covariance: their KL, extremes and draws; as both ends of a VAE."""

import checks
import keras
import numpy as np
import pytest
import scipy.stats
import small
import tensorflow as tf
import tensorflow_probability as tfp
from checks import assert_close, assert_finite

import keras_vae
from keras_vae import layers, scales
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRankDistribution
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriLDistribution

tfd = tfp.distributions
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(4, 5))

FAMILIES = {
    "tril": lambda size, **kwargs: layers.MultivariateNormalTriL(size, **kwargs),
    "low_rank": lambda size, **kwargs: layers.MultivariateNormalLowRank(size, 2, **kwargs),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def tfps(distribution):
    """The same as TFP's own, by its full covariance."""
    if isinstance(distribution, MultivariateNormalTriLDistribution):
        return tfd.MultivariateNormalTriL(distribution.loc, distribution.scale_tril)
    factors, sigma = distribution.factors, tf.exp(distribution.log_scale)
    covariance = tf.matmul(factors, factors, transpose_a=True) + tf.linalg.diag(tf.square(sigma))
    return tfd.MultivariateNormalTriL(distribution.loc, tf.linalg.cholesky(covariance))


# The KL.


@every_family
@pytest.mark.parametrize("prior_batch", [(), (4,)], ids=str)
def test_kl_from_independent_gaussians_is_tfps(family, prior_batch):
    q = FAMILIES[family](3, dtype="float64")(FEATURES)
    loc, log_variance = (tf.constant(each) for each in RNG.normal(size=(2, *prior_batch, 3)))
    p = IndependentNormalDistribution(loc, log_variance, event_ndims=1)
    expected = tfps(q).kl_divergence(tfd.MultivariateNormalDiag(loc, tf.exp(0.5 * log_variance)))
    with checks.uncompiled():
        assert_close(tfd.kl_divergence(q, p), expected, 1e-11)


@every_family
def test_kl_of_other_events_is_refused(family):
    q = FAMILIES[family](3)(FEATURES.astype("float32"))
    for shape, event_ndims in (((4,), 1), ((4, 3), 2)):
        p = IndependentNormalDistribution(tf.zeros(shape), tf.zeros(shape), event_ndims=event_ndims)
        with pytest.raises(ValueError, match=r"same event shape on both sides of a KL; received: \(3,\)"):
            tfd.kl_divergence(q, p)


def test_kl_of_two_full_covariances_is_tfps():
    q, p = (layers.MultivariateNormalTriL(3, dtype="float64")(FEATURES) for _ in range(2))
    assert_close(tfd.kl_divergence(q, p), tfps(q).kl_divergence(tfps(p)), 1e-11)


def test_kl_of_an_image_of_low_rank_is_that_of_its_vector():
    q = layers.MultivariateNormalLowRank((2, 3), 2, dtype="float64")(FEATURES)
    p = IndependentNormalDistribution(tf.zeros((2, 3), tf.float64), tf.zeros((), tf.float64), event_ndims=2)
    flat = type(q)(
        tf.reshape(q.loc, (4, 6)), tf.reshape(q.log_scale, (4, 6)), tf.reshape(q.factors, (4, 2, 6)), event_ndims=1
    )
    expected = tfps(flat).kl_divergence(tfd.MultivariateNormalDiag(tf.zeros(6, tf.float64), tf.ones(6, tf.float64)))
    assert_close(tfd.kl_divergence(q, p), expected, 1e-11)


# Extremes.


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.MultivariateNormalTriL(20),
        lambda: layers.MultivariateNormalLowRank(20, 6),
        lambda: layers.MultivariateNormalLowRank((2, 2), 9),
        lambda: layers.MultivariateNormalLowRank(20, 6, scale=1e-3),
    ],
    ids=["tril", "low_rank", "more_factors_than_elements", "fixed"],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("alike", [False, True], ids=["signs", "alike"])
def test_extreme_features_of_a_long_event(layer, sign, alike):
    """Features of 1e4 give a finite log_prob, KL and entropy, draws that are finite, and finite gradients; also where
    all parameters are nearly the same, so that the factors are parallel.
    """
    layer = layer()
    layer.build((None, 5))
    kernel, bias = layer.weights
    kernel.assign(np.random.default_rng(1).normal(1.0 if alike else 0.0, 1e-4 if alike else 0.5, kernel.shape))
    features = sign * 1e4 * (np.ones((4, 5)) if alike else np.sign(FEATURES))
    features = tf.constant(features, tf.float32)
    x = RNG.normal(size=(4, *layer.event_shape)).astype("float32")
    zeros = tf.zeros(layer.event_shape)
    prior = IndependentNormalDistribution(zeros, zeros, event_ndims=len(layer.event_shape))
    with checks.uncompiled():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(features)
            q = layer(features)
            results = [q.log_prob(x), q.kl_divergence(prior), q.entropy(), q.sample(seed=(1, 2))]
        assert_finite([*results, q.stddev()], "result")
        for result in results:
            assert_finite(tape.gradient(result, [kernel.value, bias.value, features]), "gradient")


@every_family
def test_an_absurd_value_leaves_the_loss_finite(family):
    layer = FAMILIES[family](3)
    features = tf.constant(FEATURES, tf.float32)
    x = np.zeros((4, 3), "float32")
    x[1, 1] = np.finfo("float32").max
    with tf.GradientTape() as tape:
        tape.watch(features)
        log_prob = layer(features).log_prob(x)
    assert_finite([log_prob, tape.gradient(log_prob, features)], "log_prob or gradient")


def test_low_rank_in_float32_where_the_normal_equations_break():
    """A small sigma and factors that are nearly parallel: I + A'A has a condition of 1e10, and SciPy, in float64, has
    the log-density of the same numbers.
    """
    direction = RNG.normal(size=(8, 1))
    factors = (direction + 1e-3 * RNG.normal(size=(8, 2))).T.astype("float32")
    loc, log_scale = np.zeros(8, "float32"), np.full(8, np.log(1e-2), "float32")
    distribution = MultivariateNormalLowRankDistribution(
        *(tf.constant(each[np.newaxis]) for each in (loc, log_scale, factors)), event_ndims=1
    )
    sigma = np.exp(log_scale.astype("float64"))
    wide = factors.astype("float64")
    x = (wide.sum(axis=0) + sigma * RNG.normal(size=8)).astype("float32")
    expected = scipy.stats.multivariate_normal(loc, wide.T @ wide + np.diag(sigma**2)).logpdf(x)
    np.testing.assert_allclose(distribution.log_prob(x[np.newaxis])[0], expected, rtol=1e-3)


# The distributions.


@every_family
def test_draws_go_by_row_are_reparameterized_and_may_be_sliced(family):
    features = RNG.normal(size=(6, 5)).astype("float32")
    layer = FAMILIES[family](3)
    whole = layer(features)
    assert whole.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    np.testing.assert_allclose(
        whole.sample(7, seed=(1, 2))[:, :3], layer(features[:3]).sample(7, seed=(1, 2)), rtol=1e-5, atol=1e-6
    )
    x = RNG.normal(size=(6, 3)).astype("float32")
    log_prob = whole.log_prob(x)
    np.testing.assert_allclose(whole[1:4].log_prob(x[1:4]), log_prob[1:4], rtol=1e-5)
    np.testing.assert_allclose(whole.copy().log_prob(x), log_prob, rtol=1e-5)


def test_parameters_are_laid_out_as_tfps():
    """The means, and a triangle as `tfp.math.fill_triangular` has it: as TFP's own layer takes them."""
    assert layers.MultivariateNormalTriL.params_size(4) == 14
    features = RNG.normal(size=(2, 14))
    distribution = layers.MultivariateNormalTriL(4, projection=False, dtype="float64")(features)
    raw = tfp.math.fill_triangular(features[:, 4:]).numpy()
    expected = np.tril(raw, -1) + np.stack([np.diag(np.sqrt(np.exp(np.diag(each)) + 1e-6)) for each in raw])
    assert_close(distribution.scale_tril, expected, 1e-12)
    assert_close(distribution.loc, features[:, :4], 0.0)
    assert_close(distribution.covariance(), expected @ expected.swapaxes(-1, -2), 1e-12)


@pytest.mark.parametrize("floor", [1e-3, 0.5])
def test_what_the_others_leave_of_an_element_has_a_floor(floor):
    features = np.full((1, 9), -1e4, "float32")
    distribution = layers.MultivariateNormalTriL(3, floor=floor, projection=False)(features)
    np.testing.assert_allclose(np.diagonal(distribution.scale_tril[0]), floor, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.MultivariateNormalTriL((2, 3)), r"one positive integer.*received: \(2, 3\).*LowRank takes"),
        (lambda: layers.MultivariateNormalTriL(()), r"one positive integer, the size of a vector; received: \(\)"),
        (lambda: layers.MultivariateNormalTriL(0), "positive integer"),
        (lambda: layers.MultivariateNormalTriL(3, floor=0.0), "expected `floor`"),
        (lambda: layers.MultivariateNormalLowRank(3, 0), "expected `rank` to be an integer >= 1; received: 0"),
        (
            lambda: layers.MultivariateNormalLowRank(3, 1.5),
            "expected `rank` to be an integer >= 1; received: 1.5",
        ),
        (lambda: layers.MultivariateNormalLowRank(3, 1, scale=scales.Optimal()), r"such as Shared\(\).*Optimal\(\)"),
        (
            lambda: layers.MultivariateNormalTriL(3, projection=False)(np.zeros((2, 6), "float32")),
            r"expected features of shape \(9,\); received: \(6,\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# In a VAE.


def oblique(num=400):
    """A linear-Gaussian model whose columns are at an angle, so that the posterior is correlated; and draws of x."""
    model = small.LinearGaussian()
    model.weights = model.weights @ np.array([[1.0, 0.8], [0.0, 1.5]])
    return model, model.sample(num)


def precision_of(model):
    return np.eye(2) + model.weights.T @ model.weights / model.sigma**2


def vae_of(model, posterior):
    """The model as a VAE, its decoder the true one and fixed."""
    keras.utils.set_random_seed(0)
    fixed = scales.Fixed(model.sigma, dtype="float64")
    decoder = keras.Sequential([layers.IndependentNormal(len(model.bias), scale=fixed, dtype="float64")])
    vae = keras_vae.VAE(keras.Sequential([posterior]), decoder, dtype="float64", seed=0)
    vae.build((None, len(model.bias)))
    decoder.set_weights([model.weights.T, model.bias])
    decoder.trainable = False
    return vae


def test_with_the_true_correlated_posterior_every_draw_gives_the_exact_evidence():
    """log p(x|z) + log p(z) - log q(z|x) is log p(x) at every z if q is the true posterior."""
    model, x = oblique(50)
    vae = vae_of(model, layers.MultivariateNormalTriL(2, floor=1e-9, dtype="float64"))
    covariance = np.linalg.inv(precision_of(model))
    assert abs(covariance[0, 1]) > 0.3 * np.sqrt(covariance[0, 0] * covariance[1, 1])
    to_mean = model.weights @ covariance / model.sigma**2
    lower = np.linalg.cholesky(covariance)
    raw = np.tril(lower, -1) + np.diag(2 * np.log(np.diag(lower)))
    triangle = tfp.math.fill_triangular_inverse(raw).numpy()
    kernel = np.concatenate([to_mean, np.zeros((6, 3))], axis=1)
    vae.encoder.set_weights([kernel, np.concatenate([-model.bias @ to_mean, triangle])])
    np.testing.assert_allclose(vae.log_likelihood(x, num_samples=3, verbose=0), model.log_prob(x), rtol=1e-7)


@every_family
def test_a_correlated_posterior_closes_the_gap_that_independence_leaves(family):
    """Trained, the bound comes within 0.05 nats of log p(x); independence costs 1/2 log(P_11 P_22 / det P) nats more,
    P the true precision.
    """
    model, x = oblique()
    precision = precision_of(model)
    gap = 0.5 * np.log(precision[0, 0] * precision[1, 1] / np.linalg.det(precision))
    vae = vae_of(model, FAMILIES[family](2, dtype="float64"))
    vae.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 2000)))
    vae.fit(x, epochs=200, batch_size=40, verbose=0)
    vae.objective = keras_vae.objectives.ELBO(num_samples=500)
    terms = vae(x)
    bound = -np.mean(terms["nll"] + terms["kl"])
    exact = model.log_prob(x).mean()
    assert gap > 0.3
    assert exact - 0.05 < bound < exact + 0.03


@pytest.mark.parametrize(
    ("posterior", "likelihood"),
    [
        (lambda: layers.MultivariateNormalTriL(3), lambda: layers.MultivariateNormalTriL(6)),
        pytest.param(
            lambda: layers.MultivariateNormalLowRank(3, 2),
            lambda: layers.MultivariateNormalLowRank((2, 3), 2, scale=scales.Shared()),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["tril", "low_rank"],
)
def test_a_vae_of_both_ends_trains_saves_and_loads(posterior, likelihood, tmp_path):
    keras.utils.set_random_seed(0)
    x = (RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 6)) + 0.1 * RNG.normal(size=(200, 6))).astype("float32")
    encoder = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(16, "tanh"), posterior()])
    decoder = keras.Sequential([keras.layers.Dense(16, "tanh"), likelihood()])
    x = x.reshape(200, *decoder.layers[-1].event_shape)
    vae = keras_vae.VAE(encoder, decoder, objective=keras_vae.objectives.ELBO(num_samples=4), seed=0)
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=True)
    history = vae.fit(x, epochs=10, batch_size=50, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0] + 0.5
    assert vae.generate(5, seed=0, sample=True).shape == (5, *x.shape[1:])
    vae.save(tmp_path / "vae.keras")
    copy = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(copy.reconstruct(x), vae.reconstruct(x))
