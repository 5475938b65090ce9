"""Where the KL comes from: a registered closed form, whose errors are not swallowed, or the draws."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import keras_vae
from keras_vae.backend import tfd, tfp
from keras_vae.layers import IndependentNormal
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.objectives.kl import has_closed_form
from keras_vae.priors import Prior

NORMAL, LAPLACE = tfd.Normal(0.5, 2.0), tfd.Laplace(0.0, 1.0)
tfb = tfp.bijectors
WRAPPED = {
    "independent": lambda one: tfd.Independent(type(one)([0.5, 1.0], 2.0), 1),
    "sample": lambda one: tfd.Sample(one, 3),
    "masked": lambda one: tfd.Masked(one, True),
    "transformed": lambda one: tfd.TransformedDistribution(one, tfb.Exp()),
    "blockwise": lambda one: tfd.Blockwise([one, tfd.Normal(0.0, 1.0)]),
    "within": lambda one: tfd.Independent(tfd.TransformedDistribution(type(one)([0.5, 1.0], 2.0), tfb.Exp()), 1),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_form_that_is_passed_on_is_one_where_the_parts_have_one(name):
    """As TFP itself finds by trying; of its wrappers, each around a normal and a Laplace."""
    for one, other, expected in ((NORMAL, NORMAL, True), (LAPLACE, LAPLACE, True), (LAPLACE, NORMAL, False)):
        q, p = WRAPPED[name](one), WRAPPED[name](other)
        assert has_closed_form(q, p) is expected
        if expected:
            assert np.isfinite(q.kl_divergence(p)).all()
        else:
            with pytest.raises(NotImplementedError):
                q.kl_divergence(p)


def test_other_transformations_have_no_closed_form():
    q, p = (tfd.TransformedDistribution(NORMAL, bijector) for bijector in (tfb.Exp(), tfb.Softplus()))
    assert not has_closed_form(q, p)


class Ends(keras.layers.Layer):
    """Ends an encoder in a distribution of features."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, features):
        return self.function(*keras.ops.split(features, 2, axis=-1))

    def compute_output_spec(self, features):
        return keras.KerasTensor((features.shape[0], features.shape[1] // 2))


def vae_of(function, prior=None, **kwargs):
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.layers.Dense(4), Ends(function)])
    decoder = keras.Sequential([IndependentNormal(3, scale=1.0)])
    vae = keras_vae.VAE(encoder, decoder, prior=prior, objective=keras_vae.objectives.ELBO(**kwargs), seed=0)
    vae.build((None, 3))
    return vae


def lines_of(vae):
    lines = []
    vae.summary(print_fn=lambda line, **_: lines.append(line))
    return lines


X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


class Unfinished(tfd.MultivariateNormalDiag):
    """A posterior whose registered KL raises what an unregistered one would."""


@tfd.RegisterKL(Unfinished, IndependentNormalDistribution)
def _unfinished(q, p, name=None):
    raise NotImplementedError("this form is not finished")


def test_an_error_inside_a_registered_form_is_not_taken_for_none():
    with pytest.raises(NotImplementedError, match="this form is not finished"):
        vae_of(lambda mean, raw: Unfinished(mean, tf.nn.softplus(raw)))


def test_a_kl_by_draws_asks_for_no_closed_form():
    vae = vae_of(lambda mean, raw: Unfinished(mean, tf.nn.softplus(raw)), kl="draws")
    assert np.isfinite(vae(X)["kl"]).all()


def test_a_closed_form_is_said_to_be_one():
    vae = vae_of(lambda mean, raw: tfd.MultivariateNormalDiag(mean, tf.nn.softplus(raw)))
    assert lines_of(vae)[-1] == "KL: closed form"
    vae.compile("adam")
    assert [line.split(":")[0] for line in lines_of(vae)[-2:]] == ["Training steps", "KL"]
    posterior = vae.encode(X)
    mean, stddev = (np.asarray(each) for each in (posterior.mean(), posterior.stddev()))
    expected = np.sum(0.5 * (mean**2 + stddev**2 - 1.0) - np.log(stddev), axis=-1)
    np.testing.assert_allclose(vae(X)["kl"], expected, rtol=1e-5)


@keras.saving.register_keras_serializable("tests")
class Logistic(Prior):
    def distribution(self):
        return tfd.Independent(tfd.Logistic(tf.zeros(self.latent_shape), 1.0), 1)


def test_without_one_the_kl_is_the_draws_mean():
    """Of a normal from a logistic, against SciPy's densities at the same draws; within wrappers that pass it on."""
    vae = vae_of(lambda mean, raw: tfd.Independent(tfd.Normal(mean, tf.nn.softplus(raw)), 1), Logistic(), num_samples=5)
    assert lines_of(vae)[-1] == "KL: by draws"
    forward = vae.forward_pass(X, tf.constant([0, 1]))
    posterior = forward.posterior.distribution
    log_q = stats.norm(posterior.loc, posterior.scale).logpdf(forward.z)
    expected = np.mean(np.sum(log_q - stats.logistic.logpdf(forward.z), axis=-1), axis=0)
    np.testing.assert_allclose(vae.objective(forward)["kl"], expected, rtol=1e-4, atol=1e-5)


def test_a_class_s_own_kl_is_a_closed_form():
    class Own(tfd.MultivariateNormalDiag):
        def _kl_divergence(self, other):
            return 7.0 * tf.ones(tf.shape(self.loc)[0])

    vae = vae_of(lambda mean, raw: Own(mean, tf.nn.softplus(raw)), Logistic())
    assert lines_of(vae)[-1] == "KL: closed form"
    np.testing.assert_array_equal(vae(X)["kl"], np.full(4, 7.0))
