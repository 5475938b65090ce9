"""The parts of the KL by the aggregate posterior: against mixtures that SciPy sums up, and Gaussians that are known."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from passes import COVARIANCES, MEANS, POSTERIORS, SIGMAS, B, D, Flow, pass_of
from scipy import stats
from scipy.special import logsumexp
from small import digits, gaussian_vae

import keras_vae
from keras_vae.backend import tfd
from keras_vae.objectives import ELBO, BetaTC, Sum, TotalCorrelation

PARTS = ["mutual_information", "total_correlation", "dimension_kl"]
RANDOM = np.random.default_rng(0)


def ready(objective, num_examples=None, dtype="float64"):
    objective.build(dtype)
    if num_examples is not None:
        objective.prepare(num_examples)
    return objective


def densities(z, covariances):
    """log q(z|x_j), `[S, i, j]`, and log q(z_u|x_j), `[S, i, j, D]`, by SciPy."""
    together = [stats.multivariate_normal(mean, cov).logpdf(z) for mean, cov in zip(MEANS, covariances, strict=True)]
    sigmas = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    return np.stack(together, axis=-1), stats.norm(MEANS, sigmas).logpdf(z[:, :, None])


@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_a_batch_that_is_the_data_set_gives_the_exact_mixture(name, estimator):
    """Draw by draw. The paper's weighted form is 1/N of the mixture: each log density of it is off by log N."""
    forward = pass_of(POSTERIORS[name], 5)
    z = np.asarray(forward.z)
    together, of_units = densities(z, COVARIANCES[name])
    own = np.diagonal(together, axis1=1, axis2=2)
    log_q = logsumexp(together, axis=2) - math.log(B)
    log_q_of_units = np.sum(logsumexp(of_units, axis=2) - math.log(B), axis=-1)
    off = math.log(B) if estimator == "weighted" else 0.0
    expected = {
        "mutual_information": own - log_q + off,
        "total_correlation": log_q - log_q_of_units + (D - 1) * off,
        "dimension_kl": log_q_of_units - np.sum(stats.norm.logpdf(z), axis=-1) - D * off,
    }
    found = ready(BetaTC(estimator=estimator), B)(forward)
    assert list(found) == ["nll", *PARTS]
    for part, value in expected.items():
        np.testing.assert_allclose(found[part], np.mean(value, axis=0), rtol=1e-9, atol=1e-9, err_msg=part)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("num_examples", [B, 5000])
def test_the_parts_add_up_to_the_kl_by_draws(estimator, num_examples):
    forward = pass_of(POSTERIORS["full"], 4)
    found = ready(BetaTC(estimator=estimator), num_examples)(forward)
    expected = np.mean(forward.log_posterior - forward.log_prior, axis=0)
    np.testing.assert_allclose(sum(found[part] for part in PARTS), expected, rtol=1e-9, atol=1e-9)


def test_the_total_correlation_of_a_gaussian_is_known():
    """An aggregate that is N(0, C), but for having 1,500 examples: -1/2 log det of its correlations.

    To 5 standard errors of the draws' mean, and 0.01 for the mixture's being none. False alarms: 6e-7 each.
    """
    size = 1500
    covariance = np.array([[2.5, 1.2], [1.2, 2.0]])
    means = np.random.default_rng(1).normal(size=(size, 2))
    means = (means - means.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(means.T, ddof=0))).T
    means = means @ np.linalg.cholesky(covariance - 0.6 * np.eye(2)).T
    posterior = tfd.MultivariateNormalDiag(means, np.full((size, 2), math.sqrt(0.6)))
    found = ready(BetaTC(estimator="stratified"), size)(pass_of(posterior, 1))
    variances = np.diag(covariance)
    truth = {
        "total_correlation": 0.5 * math.log(variances.prod() / np.linalg.det(covariance)),
        "mutual_information": 0.5 * math.log(np.linalg.det(covariance) / 0.6**2),
        "dimension_kl": np.sum(0.5 * (variances - 1.0 - np.log(variances))),
    }
    for part, expected in truth.items():
        value = np.asarray(found[part])
        assert abs(value.mean() - expected) < 5 * value.std() / math.sqrt(size) + 0.01, part
    assert truth["total_correlation"] > 0.1


def test_stratified_weights_are_unbiased_for_the_mixture():
    """The mean over 20,000 batches of 5 of 12 is the mixture's density, to 5 standard errors: false alarms 6e-7."""
    size, batch, random = 20_000, 5, np.random.default_rng(3)
    density = RANDOM.uniform(0.1, 3.0, B)  # at one z, drawn for example 0, under each posterior
    objective = ready(BetaTC(estimator="stratified"), B)
    weights = np.exp(objective.log_weights(pass_of(tfd.MultivariateNormalDiag(MEANS[:batch], SIGMAS[:batch]), 1)))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    batches = np.stack([[0, *random.choice(np.arange(1, B), batch - 1, replace=False)] for _ in range(size)])
    estimates = density[batches] @ weights[0]
    assert abs(estimates.mean() - density.mean()) < 5 * estimates.std() / math.sqrt(size)


def test_stratified_weights_are_the_paper_s_whichever_is_its_last():
    """Appendix C.2: 1/N, 1/M of all others but one, (N - M) / (N M) of that, with M = B - 1; the mean over the one."""
    batch, size = 6, 50
    others = batch - 1
    of_paper = []
    for last in range(1, batch):
        weights = np.full(batch, 1 / others)
        weights[0], weights[last] = 1 / size, (size - others) / (size * others)
        of_paper.append(weights)
    found = ready(BetaTC(estimator="stratified"), size).log_weights(pass_of(POSTERIORS["TFP's"][:batch], 1))
    np.testing.assert_allclose(np.exp(found)[0], np.mean(of_paper, axis=0), rtol=1e-12)


@pytest.mark.parametrize("size", [737_280, 10**8])
def test_in_float32_an_own_part_of_a_large_data_set_is_not_lost(size):
    posterior = tfd.MultivariateNormalDiag(MEANS.astype("float32"), SIGMAS.astype("float32"))
    found = ready(BetaTC(estimator="stratified"), size, "float32").log_weights(pass_of(posterior, 1))
    assert found.dtype == "float32"
    own = np.eye(B, dtype=bool)
    expected = np.where(own, -math.log(size), math.log((1.0 - 1.0 / size) / (B - 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    alone = ready(BetaTC(estimator="stratified"), size, "float32").log_weights(pass_of(posterior[:1], 1))
    np.testing.assert_array_equal(alone, [[0.0]])


def test_of_n_the_weighted_parts_know_constants_alone():
    """And it cancels in none of them: log N, (D - 1) log N, -D log N beside the batch's own mixture."""
    forward = pass_of(POSTERIORS["full"], 3)
    of_batch, found = ready(BetaTC(estimator="stratified"), B)(forward), ready(BetaTC(), 5000)(forward)
    for part, times in zip(PARTS, (1, D - 1, -D), strict=True):
        np.testing.assert_allclose(found[part] - of_batch[part], times * math.log(5000), rtol=1e-9, err_msg=part)
    assert np.mean(found["dimension_kl"]) < 0.0 < np.mean(of_batch["dimension_kl"])


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_an_example_of_weight_0_is_as_if_it_were_not_there(estimator):
    z = np.asarray(POSTERIORS["TFP's"].sample(3, seed=[1, 2]))
    weights = np.array([2.0, 0.5, 1.0, 3.0] + 8 * [0.0])
    whole = pass_of(POSTERIORS["TFP's"], z, sample_weight=weights)
    part = pass_of(POSTERIORS["TFP's"][:4], z[:, :4], sample_weight=weights[:4])
    objective = ready(BetaTC(estimator=estimator), 40)
    found, expected = objective(whole), objective(part)
    for name in PARTS:
        np.testing.assert_allclose(found[name][:4], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert np.isfinite(found[name]).all()
    for name, value in objective(pass_of(POSTERIORS["TFP's"], z, sample_weight=np.zeros(B))).items():
        assert np.isfinite(value).all(), name


def test_a_weighted_example_counts_in_the_weighted_mixture_as_if_it_came_so_often():
    z, times = np.asarray(POSTERIORS["TFP's"].sample(2, seed=[1, 2])), RANDOM.integers(1, 4, B)
    again = np.repeat(np.arange(B), times)
    weighted = pass_of(POSTERIORS["TFP's"], z, sample_weight=times)
    repeated = pass_of(tfd.MultivariateNormalDiag(MEANS[again], SIGMAS[again]), z[:, again])
    objective = ready(BetaTC(), 100)
    found, expected = objective(weighted), objective(repeated)
    for name in PARTS:
        np.testing.assert_allclose(np.asarray(found[name])[again], expected[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
def test_a_batch_of_one_is_finite(estimator):
    found = ready(BetaTC(estimator=estimator), 40)(pass_of(POSTERIORS["TFP's"][:1], 2))
    assert all(np.isfinite(value).all() for value in found.values())


def test_latents_of_several_axes_are_as_those_in_a_row():
    means, sigmas = RANDOM.normal(size=(B, 2, 3)), RANDOM.uniform(0.3, 1.0, (B, 2, 3))
    in_map = tfd.Independent(tfd.Normal(means, sigmas), 2)
    in_row = tfd.MultivariateNormalDiag(means.reshape(B, 6), sigmas.reshape(B, 6))
    z = np.asarray(in_map.sample(2, seed=[1, 2]))
    objective = ready(BetaTC(), 40)
    found, expected = objective(pass_of(in_map, z)), objective(pass_of(in_row, z.reshape(2, B, 6)))
    for name in PARTS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, err_msg=name)


def test_the_penalty_is_beta_tc_s():
    forward = pass_of(POSTERIORS["full"], 2)
    alone = ready(TotalCorrelation(3.0), 40)(forward)
    assert list(alone) == ["total_correlation"]
    np.testing.assert_array_equal(alone["total_correlation"], ready(BetaTC(), 40)(forward)["total_correlation"])


# How many examples there are.

X = digits()[:24]


def tc_vae(objective=None, **kwargs):
    vae = gaussian_vae(units=4, objective=BetaTC(**kwargs) if objective is None else objective)
    vae.compile("adam", jit_compile=False)
    return vae


def size_of(objective):
    return float(objective.size)


def test_the_size_is_that_of_what_fit_is_given(tmp_path):
    vae = tc_vae()
    vae.fit(X, batch_size=8, verbose=0)
    assert size_of(vae.objective) == 24
    vae.fit(X, batch_size=8, validation_split=0.5, verbose=0)
    assert size_of(vae.objective) == 12
    vae.fit(tf.data.Dataset.from_tensor_slices(X[:16]).batch(4, drop_remainder=True), verbose=0)
    assert size_of(vae.objective) == 16
    expected = vae.evaluate(X, batch_size=8, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert size_of(loaded.objective) == 16
    assert loaded.evaluate(X, batch_size=8, verbose=0) == expected
    loaded.fit(((rows,) for rows in (X[:4], X[4:8])), steps_per_epoch=2, verbose=0)  # a stream of no known length
    assert size_of(loaded.objective) == 16


def test_of_a_data_set_of_which_an_epoch_takes_another_number_than_all_the_size_is_not_known():
    """A part of it, or several rounds of what it repeats: nobody can tell which."""
    batches = tf.data.Dataset.from_tensor_slices(X[:16]).batch(4, drop_remainder=True)
    vae = tc_vae()
    for data, steps in ((batches.repeat(3), 4), (batches, 2), (batches.repeat(), 4)):
        with pytest.raises(ValueError, match=r"if an epoch is all of them; .* BetaTC\(num_examples=len\(x\)\)"):
            vae.fit(data, steps_per_epoch=steps, verbose=0)
    vae.fit(batches, steps_per_epoch=4, verbose=0)
    assert size_of(vae.objective) == 16


def test_the_size_that_is_given_counts(tmp_path):
    vae = tc_vae(Sum(ELBO(), TotalCorrelation(num_examples=1000)))
    vae.fit(((rows,) for rows in (X[:4], X[4:8])), steps_per_epoch=2, verbose=0)
    vae.fit(X, verbose=0)
    assert size_of(vae.objective.parts[1]) == 1000
    vae.save(tmp_path / "vae.keras")
    assert size_of(keras.saving.load_model(tmp_path / "vae.keras").objective.parts[1]) == 1000


def test_without_the_size_no_work_is_begun(tmp_path):
    message = r"BetaTC: expected to know how many examples .* Give it, .*: BetaTC\(num_examples=len\(x\)\)"
    vae = tc_vae()
    with pytest.raises(ValueError, match=message):
        vae.fit(((rows,) for rows in (X[:4], X[4:8])), steps_per_epoch=2, verbose=0)
    with pytest.raises(ValueError, match=message):
        vae.fit(tf.data.Dataset.from_tensor_slices(X).batch(8), verbose=0)  # the last batch may be smaller
    assert int(vae.optimizer.iterations) == 0
    with pytest.raises(ValueError, match=message):
        vae.evaluate(X, verbose=0)
    with pytest.raises(ValueError, match=message):
        vae.predict(X, verbose=0)
    with pytest.raises(ValueError, match=message):
        vae.export(tmp_path / "served", verbose=False)
    with pytest.raises(ValueError, match=message):
        vae(X)
    vae.reconstruct(X), vae.generate(2), vae.log_likelihood(X, num_samples=2)  # which ask for no terms
    inside = keras.Sequential([Reconstructed(gaussian_vae(units=4, objective=BetaTC()))])
    inside.compile("adam", "mse", jit_compile=False)
    with pytest.raises(ValueError, match=message):
        inside.fit(X, X, batch_size=8, verbose=0)
    fresh = tc_vae()
    with pytest.raises(ValueError, match=message):
        fresh.train_on_batch(X)


def test_another_objective_is_told_the_size_and_keeps_it():
    vae = tc_vae()
    vae.fit(X, verbose=0)
    vae.objective = BetaTC(2.0)
    assert np.isfinite(vae.evaluate(X, verbose=0)).all() and float(vae.objective.size) == len(X)


class Reconstructed(keras.layers.Layer):
    """A VAE within a larger model, which calls no `fit` of its own."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae
        vae.build(X.shape)

    def call(self, x, training=None):
        return self.vae(x, training=training)["reconstruction"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"estimator": "exact"},
            "expected `estimator` to be one of 'weighted', 'stratified'; received: 'exact'",
        ),
        ({"num_examples": 0}, "BetaTC: expected `num_examples` to be an integer >= 1; received: 0"),
        ({"num_examples": 2.5}, "BetaTC: expected `num_examples` to be an integer >= 1; received: 2.5"),
        ({"beta": -1.0}, "BetaTC: expected `beta` to be a finite number >= 0"),
        ({"num_samples": 0}, "BetaTC: expected `num_samples` to be an integer >= 1; received: 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        BetaTC(**arguments)


def test_a_posterior_or_a_prior_of_dependent_units_is_refused_when_built():
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(4)])
    encoder = keras.Sequential([keras.layers.Dense(2), Flow()])
    message = "BetaTC: expected a posterior and a prior whose units have densities .*Transformed"
    with pytest.raises(ValueError, match=message):
        keras_vae.VAE(encoder, decoder, objective=BetaTC()).build((None, 4))
