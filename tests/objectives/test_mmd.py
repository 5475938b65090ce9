"""The maximum mean discrepancy: against NumPy, closed forms of Gaussians, and 0 for equal ones; and who uses it."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import schedules
from passes import pass_of
from small import gaussian_vae

from keras_vae.backend import tfd
from keras_vae.objectives import ELBO, MMD, WAE, InfoVAE, Sum, kernels
from keras_vae.objectives.discrepancy.mmd import squared_mmd
from keras_vae.objectives.kernels import RBF, InverseMultiquadratic
from keras_vae.objectives.values import weights_at

RANDOM = np.random.default_rng(0)


def shares(size):
    return np.full(size, 1.0 / size)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        (RBF(0.7), lambda d2: np.exp(-d2 / (2 * 0.7**2))),
        (RBF(), lambda d2: np.exp(-d2 / (2 * 3))),
        (RBF([0.5, 2.0]), lambda d2: np.exp(-d2 / 0.5) + np.exp(-d2 / 8.0)),
        (RBF(np.array([0.5, 2.0])), lambda d2: np.exp(-d2 / 0.5) + np.exp(-d2 / 8.0)),
        (RBF(np.float32(0.5)), lambda d2: np.exp(-d2 / 0.5)),
        (InverseMultiquadratic(0.7), lambda d2: 0.49 / (0.49 + d2)),
        (InverseMultiquadratic(), lambda d2: 6 / (6 + d2)),
        (InverseMultiquadratic((1, 3.0)), lambda d2: 1 / (1 + d2) + 9 / (9 + d2)),
    ],
    ids=lambda value: repr(value) if isinstance(value, kernels.Kernel) else "",
)
def test_kernels(kernel, formula):
    one, other = RANDOM.normal(size=(2, 5, 3)), RANDOM.normal(size=(2, 4, 3))
    expected = formula(np.sum((one[:, :, None] - other[:, None]) ** 2, axis=-1))
    np.testing.assert_allclose(kernel(one, other), expected, rtol=1e-9)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(kernel)))
    same = keras.saving.deserialize_keras_object(config)
    np.testing.assert_array_equal(same(one, other), kernel(one, other))


def test_the_u_statistic_is_numpy_s():
    """Algorithm 2 of the WAE's paper, as sums over pairs; and with weights, which are those of pairs."""
    one, other, weight = RANDOM.normal(size=(6, 2)), RANDOM.normal(size=(6, 2)), RANDOM.uniform(0.1, 2.0, 6)
    kernel, k = RBF(0.8), lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 0.64))
    for w in (np.ones(6), weight):
        unlike = [(i, j) for i in range(6) for j in range(6) if i != j]
        within = sum(w[i] * w[j] * (k(one[i], one[j]) + k(other[i], other[j])) for i, j in unlike)
        between = sum(w[i] * w[j] * k(one[i], other[j]) for i in range(6) for j in range(6))
        expected = within / sum(w[i] * w[j] for i, j in unlike) - 2.0 * between / np.sum(w) ** 2
        np.testing.assert_allclose(squared_mmd(kernel, one, other, w / np.sum(w)), expected, rtol=1e-9)


@pytest.mark.parametrize("kernel", [RBF(1.3), InverseMultiquadratic()], ids=repr)
def test_of_equal_distributions_its_mean_is_0(kernel):
    """Over 3,000 pairs of samples of 8, to 5 standard errors: false alarms 6e-7. The biased one's mean is far off."""
    one, other = RANDOM.normal(size=(3000, 8, 2)), RANDOM.normal(size=(3000, 8, 2))
    found = np.asarray(squared_mmd(kernel, one, other, shares(8)))
    error = found.std() / math.sqrt(3000)
    assert abs(found.mean()) < 5 * error
    biased = np.mean(kernel(one, one) + kernel(other, other) - 2 * np.asarray(kernel(one, other)), axis=(1, 2))
    assert biased.mean() > 20 * error


def test_of_two_gaussians_it_is_the_closed_form():
    """By integrals of Gaussian kernels; over 3,000 samples of 10, to 5 standard errors: false alarms 6e-7."""
    shift, sigma, scale, units = np.array([0.8, -0.5, 0.0]), 0.6, 1.1, 3
    one, other = shift + sigma * RANDOM.normal(size=(3000, 10, units)), RANDOM.normal(size=(3000, 10, units))

    def mean_kernel(variance, distance):
        total = scale**2 + variance
        return (scale**2 / total) ** (units / 2) * math.exp(-distance / (2 * total))

    truth = mean_kernel(2 * sigma**2, 0) + mean_kernel(2, 0) - 2 * mean_kernel(sigma**2 + 1, shift @ shift)
    found = np.asarray(squared_mmd(RBF(scale), one, other, shares(10)))
    error = found.std() / math.sqrt(3000)
    assert abs(found.mean() - truth) < 5 * error and truth > 20 * error


def aggregate(size=6, weights=None, shift=0.0, draws=3):
    means = np.random.default_rng(1).normal(size=(size, 2)) + shift
    return pass_of(tfd.MultivariateNormalDiag(means, np.full((size, 2), 0.5)), draws, sample_weight=weights)


def built(objective):
    objective.build("float64")
    return objective


def test_as_a_term_it_is_the_mean_over_the_draws_and_the_same_for_every_example():
    forward = aggregate()
    found = np.asarray(built(MMD(kernel=RBF(1.0)))(forward)["mmd"])
    of_prior = tf.reshape(forward.prior.sample(18, seed=forward.noise_seed), (3, 6, 2))
    each = squared_mmd(RBF(1.0), forward.z, of_prior, shares(6))
    np.testing.assert_allclose(found, np.full(6, np.mean(each)), rtol=1e-9)
    assert np.ptp(each) > 0.0


def test_weights_that_are_0():
    """Examples that do not count are as if not there; a batch of one, or of none that counts, is finite."""
    whole, part = aggregate(weights=[1.0, 2.0, 0.5, 0.0, 0.0, 0.0], draws=1), aggregate(draws=1)
    objective = built(MMD())
    expected = squared_mmd(
        objective.kernel,
        part.z[0, :3],
        part.prior.sample(6, seed=part.noise_seed)[:3],
        np.array([1.0, 2.0, 0.5]) / 3.5,
    )
    np.testing.assert_allclose(objective(whole)["mmd"], np.full(6, expected), rtol=1e-9)
    np.testing.assert_array_equal(objective(aggregate(1))["mmd"], [0.0])
    np.testing.assert_array_equal(objective(aggregate(weights=[0.0, 3.0, 0.0, 0.0, 0.0, 0.0]))["mmd"], np.zeros(6))
    np.testing.assert_array_equal(
        objective(aggregate(weights=np.zeros(6)))["mmd"], objective(aggregate(weights=np.ones(6)))["mmd"]
    )


# InfoVAE and WAE.


def test_info_vae_s_weights_are_the_paper_s():
    info = InfoVAE(alpha=0.3, lambda_=5.0)
    assert info.term_weights == pytest.approx({"nll": 1.0, "kl": 0.7, "mmd": 4.3})
    assert InfoVAE(alpha=0.0, lambda_=1.0).term_weights == {"nll": 1.0, "kl": 1.0, "mmd": 0.0}
    assert InfoVAE(alpha=1, lambda_=10).term_weights == {"nll": 1.0, "kl": 0.0, "mmd": 10.0}
    rising = InfoVAE(alpha=schedules.PolynomialDecay(0.0, 10, end_learning_rate=1.0), lambda_=3.0)
    assert {n: float(w) for n, w in weights_at(rising, 5).items()} == {"nll": 1.0, "kl": 0.5, "mmd": 2.5}
    assert {n: float(w) for n, w in weights_at(rising).items()} == {"nll": 1.0, "kl": 0.0, "mmd": 3.0}


def test_their_terms_are_those_of_others():
    forward = aggregate()
    mmd = built(MMD(kernel=RBF(2.0)))(forward)["mmd"]
    info, wae = built(InfoVAE(kernel=RBF(2.0)))(forward), built(WAE(kernel=RBF(2.0)))(forward)
    assert list(info) == ["nll", "kl", "mmd"] and list(wae) == ["nll", "mmd"]
    for terms in (info, wae):
        np.testing.assert_array_equal(terms["mmd"], mmd)
        np.testing.assert_array_equal(terms["nll"], forward.nll)
    np.testing.assert_array_equal(info["kl"], forward.kl)
    assert WAE(3.0).term_weights == {"nll": 1.0, "mmd": 3.0}


def test_weights_that_are_set_count_from_the_next_step_on():
    vae = gaussian_vae(units=4, objective=InfoVAE(lambda_=2.0))
    vae.compile("sgd", jit_compile=False)
    x = np.random.default_rng(0).uniform(size=(16, 8, 8, 1)).astype("float32")

    def left_over(of_kl, of_mmd):
        logs = {name: values[-1] for name, values in vae.fit(x, verbose=0).history.items()}
        return logs["loss"] - logs["nll"] - of_kl * logs["kl"] - of_mmd * logs["mmd"]

    assert left_over(1.0, 1.0) == pytest.approx(0.0, abs=1e-4)
    vae.objective.lambda_, vae.objective.alpha = 50.0, 0.5
    assert left_over(0.5, 49.5) == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(
        ValueError, match=r"expected `lambda_` to be at least 1 - alpha, .*; received: alpha=0.5, lambda_=0.1"
    ):
        vae.objective.lambda_ = 0.1
    assert left_over(0.5, 49.5) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("is_built", [False, True])
@pytest.mark.parametrize("kind", [float, keras.Variable])
def test_what_is_refused_is_not_set(kind, is_built):
    """Neither in the number nor in a variable of one's own, which other things may read."""
    alpha, lambda_ = kind(0.0), kind(2.0)
    info = InfoVAE(alpha, lambda_)
    if is_built:
        built(info)
    with pytest.raises(ValueError, match=r"expected `lambda_` to be at least 1 - alpha, .*alpha=-1.5"):
        info.alpha = -1.5
    with pytest.raises(ValueError, match=r"expected `lambda_` to be at least 1 - alpha, .*lambda_=0.5"):
        info.lambda_ = 0.5
    with pytest.raises(ValueError, match="expected `alpha` to be a finite number from -inf to 1"):
        info.alpha = 2.0
    assert float(info.alpha) == float(alpha) == 0.0 and float(info.lambda_) == float(lambda_) == 2.0
    assert {name: float(weight) for name, weight in info.term_weights.items()} == {"nll": 1.0, "kl": 1.0, "mmd": 1.0}


def test_schedules_that_go_apart_between_are_refused():
    """Each is within its own bounds; at the steps 101 to 120 both are too low."""
    alpha = schedules.PiecewiseConstantDecay([100, 120], [0.5, -1.0, 0.5])
    with pytest.raises(ValueError, match="expected `lambda_` to be at least 1 - alpha"):
        InfoVAE(alpha, lambda_=1.0)
    with pytest.raises(ValueError, match="expected `lambda_` to be at least 1 - alpha"):
        InfoVAE(schedules.PolynomialDecay(0.5, 10, 0.5), schedules.PiecewiseConstantDecay([99, 101], [1.0, 0.1, 1.0]))
    assert InfoVAE(alpha, lambda_=2.0).alpha is alpha


DECAY = schedules.PolynomialDecay(1.0, 10, end_learning_rate=0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoVAE(alpha=1.5), "InfoVAE: expected `alpha` to be a finite number from -inf to 1"),
        (lambda: InfoVAE(alpha=0.2, lambda_=0.5), "InfoVAE: expected `lambda_` to be at least 1 - alpha"),
        (lambda: InfoVAE(alpha=DECAY, lambda_=0.5), "InfoVAE: expected `lambda_` to be at least 1 - alpha"),
        (lambda: InfoVAE(kernel="rbf"), r"InfoVAE: expected `kernel` to be .* RBF\(\) .*; received: 'rbf'"),
        (lambda: WAE(-1.0), "WAE: expected `weight` to be a finite number >= 0"),
        (lambda: MMD(kernel=RBF), "MMD: expected `kernel` to be"),
        (lambda: MMD(num_samples=0), "MMD: expected `num_samples` to be an integer >= 1"),
        (lambda: RBF(0.0), "RBF: expected `scale` to be a positive, finite number; received: 0.0"),
        (lambda: RBF([1.0, -1.0]), "RBF: expected `scale` to be a positive, finite number; received: -1.0"),
        (lambda: RBF(np.ones((1, 2))), r"RBF: expected `scale` to be a positive, finite number; received: \[1.0, 1.0"),
        (lambda: RBF([]), "RBF: expected `scale` to hold a number at least"),
        (lambda: InverseMultiquadratic("1"), "InverseMultiquadratic: expected `scale` to be a positive, finite number"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@keras.saving.register_keras_serializable("tests")
class Laplace(kernels.Kernel):
    def of(self, squared_distance, scale):
        return keras.ops.exp(-keras.ops.sqrt(squared_distance + 1e-12) / scale)


def test_a_kernel_of_one_s_own_is_saved_with_the_objective():
    objective = Sum(ELBO(), MMD(2.0, Laplace(0.5)))
    same = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
    assert repr(same) == repr(objective)
    assert repr(same.parts[1]) == "MMD(num_samples=1, weight=2.0, kernel=Laplace(scale=0.5))"
    with pytest.raises(NotImplementedError, match="Laplace must define `default_scale`, or be given a scale"):
        Laplace()(np.zeros((1, 2)), np.zeros((1, 2)))
