"""The DIP penalty: against NumPy's covariances, for every Gaussian posterior."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from passes import COVARIANCES, MEANS, POSTERIORS, SIGMAS, B, Flow, pass_of

import keras_vae
from keras_vae.backend import tfd
from keras_vae.objectives import DIP, DIPVAE


def built(objective):
    objective.build("float64")
    return objective


def penalties(covariance):
    """`{name: number}` of a covariance, by NumPy."""
    on_diagonal = np.diag(covariance)
    off = np.sum(covariance**2) - np.sum(on_diagonal**2)
    return {"off_diagonal": off, "diagonal": np.sum((on_diagonal - 1.0) ** 2)}


@pytest.mark.parametrize("weights", [None, np.random.default_rng(5).uniform(0.0, 2.0, B)], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("kind", ["I", "II"])
def test_it_is_numpy_s(kind, name, weights):
    forward = pass_of(POSTERIORS[name], 1, sample_weight=weights)
    weights = np.ones(B) if weights is None else weights.astype("float32").astype("float64")
    covariance = np.cov(MEANS.T, ddof=0, aweights=weights)
    if kind == "II":
        covariance = covariance + np.average(COVARIANCES[name], axis=0, weights=weights)
    found = built(DIP(kind=kind))(forward)
    assert list(found) == ["off_diagonal", "diagonal"]
    for term, expected in penalties(covariance).items():
        np.testing.assert_allclose(found[term], np.full(B, expected), rtol=1e-6, err_msg=term)


def test_ii_is_the_covariance_of_the_draws():
    """To 5 of its standard errors, by 40,000 draws an example. False alarms: 6e-7 an entry."""
    draws = np.asarray(POSTERIORS["full"].sample(40_000, seed=[1, 2])).reshape(-1, 3)
    found = np.asarray(DIP(kind="II").covariance_of(pass_of(POSTERIORS["full"], 1)))
    error = np.std((draws - draws.mean(0))[:, :, None] * (draws - draws.mean(0))[:, None], axis=0) / len(draws) ** 0.5
    assert (np.abs(np.cov(draws.T, ddof=0) - found) < 5 * error).all()


@pytest.mark.parametrize("kind", ["I", "II"])
def test_a_weight_is_how_often_an_example_comes(kind):
    times = np.random.default_rng(4).integers(0, 4, B)
    again = np.repeat(np.arange(B), times)
    repeated = pass_of(tfd.MultivariateNormalDiag(MEANS[again], SIGMAS[again]), 1)
    found = built(DIP(kind=kind))(pass_of(POSTERIORS["TFP's"], 1, sample_weight=times))
    for name, expected in built(DIP(kind=kind))(repeated).items():
        np.testing.assert_allclose(found[name], np.full(B, expected[0]), rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("kind", ["I", "II"])
def test_latents_of_several_axes_and_batches_of_one(kind):
    means, sigmas = np.random.default_rng(2).normal(size=(2, 5, 2, 2))
    in_map = tfd.Independent(tfd.Normal(means, np.abs(sigmas) + 0.1), 2)
    in_row = tfd.MultivariateNormalDiag(means.reshape(5, 4), np.abs(sigmas.reshape(5, 4)) + 0.1)
    objective = built(DIP(kind=kind))
    for name, expected in objective(pass_of(in_row, 1)).items():
        np.testing.assert_allclose(objective(pass_of(in_map, 1))[name], expected, rtol=1e-9, err_msg=name)
    one = objective(pass_of(in_row[:1], 1))
    variance = 0.0 if kind == "I" else (np.abs(sigmas[0].ravel()) + 0.1) ** 2
    np.testing.assert_allclose(one["diagonal"], [np.sum((variance - np.ones(4)) ** 2)], rtol=1e-9)
    np.testing.assert_array_equal(one["off_diagonal"], [0.0])


def test_the_vae_is_the_elbo_and_the_penalty():
    forward = pass_of(POSTERIORS["full"], 2)
    found, penalty = built(DIPVAE(1.0, 2.0, kind="II"))(forward), built(DIP(kind="II"))(forward)
    assert list(found) == ["nll", "kl", "off_diagonal", "diagonal"]
    assert DIPVAE(1.0, 2.0).term_weights == {"nll": 1.0, "kl": 1.0, "off_diagonal": 1.0, "diagonal": 2.0}
    for name, expected in {"nll": forward.nll, "kl": forward.kl, **penalty}.items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "III"}, "DIPVAE: expected `kind` to be one of 'I', 'II'; received: 'III'"),
        ({"lambda_od": -1}, "DIPVAE: expected `lambda_od` to be a finite number >= 0"),
        ({"lambda_d": float("nan")}, "DIPVAE: expected `lambda_d` to be a finite number >= 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DIPVAE(**arguments)


class Mixed(keras.layers.Layer):
    """Ends an encoder in a distribution whose mean is known, and whose covariance is not."""

    def call(self, features):
        return Uncertain(features, tf.linalg.diag(tf.ones_like(features)))

    def compute_output_spec(self, features):
        return keras.KerasTensor(features.shape, features.dtype)


class Uncertain(tfd.MultivariateNormalTriL):
    def _covariance(self):
        raise NotImplementedError


@pytest.mark.parametrize(("end", "kind", "moment"), [(Flow, "I", "mean"), (Mixed, "II", "mean and covariance")])
def test_a_posterior_without_moments_is_refused_when_built(end, kind, moment):
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(4)])
    encoder = keras.Sequential([keras.layers.Dense(2), end()])
    vae = keras_vae.VAE(encoder, decoder, objective=DIPVAE(kind=kind))
    with pytest.raises(ValueError, match=f"DIPVAE: expected a posterior whose {moment} is known in closed form; rec"):
        vae.build((None, 4))
