"""The bounds on models whose log p(x) is known: their order, their limits, and what is reported beside them."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats
from scipy.special import logsumexp
from small import LinearGaussian, digits, gaussian_vae

import keras_vae
from keras_vae.backend import tfd
from keras_vae.objectives import CIWAE, ELBO, IWAE, MIWAE, RenyiBound
from keras_vae.objectives.forward_pass import ForwardPass


@keras.saving.register_keras_serializable("tests")
class TwoSwitches(keras_vae.priors.Prior):
    """p(z), where two binary latents a and b choose the mean: z ~ N(3 a - 2 b, 1), with p(a) = 0.3 and p(b) = 0.6."""

    MEANS = np.array([3.0 * a - 2.0 * b for a, b in itertools.product((0, 1), (0, 1))])
    SHARES = np.array([(0.3 if a else 0.7) * (0.6 if b else 0.4) for a, b in itertools.product((0, 1), (0, 1))])

    def distribution(self):
        of_a_switch = tfd.Normal(self.MEANS[:, None], np.ones((4, 1)))
        components = tfd.Independent(of_a_switch, 1)
        return tfd.MixtureSameFamily(tfd.Categorical(probs=self.SHARES), components)


class Switched:
    """x = W z + b + sigma e of a z that two binary latents choose: log p(x) is a sum over their four states."""

    def __init__(self):
        self.model = LinearGaussian(latent=1)

    def sample(self, num):
        random = np.random.default_rng(2)
        z = random.choice(TwoSwitches.MEANS, size=num, p=TwoSwitches.SHARES) + random.normal(size=num)
        noise = self.model.sigma * random.normal(size=(num, 6))
        return (z[:, None] * self.model.weights[:, 0] + self.model.bias + noise).astype("float32").astype("float64")

    def log_prob(self, x):
        covariance = self.model.weights @ self.model.weights.T + self.model.sigma**2 * np.eye(6)
        of_state = [
            stats.multivariate_normal(self.model.bias + mean * self.model.weights[:, 0], covariance).logpdf(x)
            for mean in TwoSwitches.MEANS
        ]
        return logsumexp(np.stack(of_state), axis=0, b=TwoSwitches.SHARES[:, None])

    def vae(self, **kwargs):
        return self.model.vae(prior=TwoSwitches(dtype="float64"), **kwargs)


MODELS = {
    "linear-Gaussian": (LinearGaussian(), {"posterior_shift": 0.4, "posterior_stretch": 1.3}),
    "two binary latents": (Switched(), {"posterior_shift": 0.2, "posterior_stretch": 1.2}),
}


def log_weights_of(vae, x, draws):
    """The log weights of one example, `[draws]`, float64."""
    forward = vae.forward_pass(x[None], tf.constant([3, 4]))
    return np.asarray(forward.at(forward.posterior.sample(draws, seed=[5, 6])).log_weights)[:, 0]


@pytest.mark.parametrize("name", MODELS)
def test_the_bounds_grow_with_the_draws_and_stay_below_the_truth(name):
    """L_1 < L_2 < L_4 < ... < L_32 <= log p(x); L_1 is the ELBO. Each gap is larger than 5 standard errors.

    Each of 2,000 groups of 32 draws has a mean of every bound. False alarms: 6e-7 a comparison, of some 40.
    """
    model, away = MODELS[name]
    vae = model.vae(**away)
    examples = model.sample(3)
    for x, truth in zip(examples, model.log_prob(examples), strict=True):
        groups = log_weights_of(vae, x, 64_000).reshape(2_000, 32)
        bounds = {k: np.mean(log_mean_exp(groups.reshape(2_000, -1, k)), axis=1) for k in (1, 2, 4, 8, 16, 32)}
        for lower, upper in itertools.pairwise([*bounds.values(), np.full(2_000, truth)]):
            gap, error = np.mean(upper - lower), np.std(upper - lower) / np.sqrt(2_000)
            assert gap > 5 * error or (upper[0] == truth and gap > -5 * error)
        assert abs(log_mean_exp(groups.ravel()) - truth) < 0.05


def log_mean_exp(values):
    return logsumexp(values, axis=-1) - np.log(values.shape[-1])


NUM = 12  # draws of each objective
EXPECTED = {
    "elbo": (ELBO(num_samples=NUM, kl="draws"), lambda w: w.mean(axis=0)),
    "iwae": (IWAE(NUM), lambda w: log_mean_exp(w.T)),
    "dreg": (IWAE(NUM, gradient="dreg"), lambda w: log_mean_exp(w.T)),
    "renyi": (RenyiBound(0.3, NUM), lambda w: log_mean_exp(0.7 * w.T) / 0.7),
    "renyi above one": (RenyiBound(2.0, NUM), lambda w: -log_mean_exp(-w.T)),
    "miwae": (MIWAE(3, NUM), lambda w: np.mean(log_mean_exp(np.moveaxis(w.reshape(4, 3, -1), 0, -1)), axis=0)),
    "ciwae": (CIWAE(0.25, NUM), lambda w: 0.25 * w.mean(axis=0) + 0.75 * log_mean_exp(w.T)),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_bounds_are_these_functions_of_scipy_s_weights(name):
    """And `nll` and `kl` are an ELBO's, of the same draws."""
    objective, bound = EXPECTED[name]
    model = LinearGaussian()
    vae = model.vae(0.3, 1.4, objective=objective)
    x = model.sample(5)
    forward = vae.forward_pass(x, tf.constant([0, 1]))
    z, q = np.asarray(forward.z), forward.posterior
    log_likelihood = stats.norm(z @ model.weights.T + model.bias, model.sigma).logpdf(x).sum(-1)
    weights = log_likelihood + stats.norm.logpdf(z).sum(-1) - stats.norm(q.mean(), q.stddev()).logpdf(z).sum(-1)
    outputs = vae.objective(forward)
    found = -outputs["negative_bound"] if "negative_bound" in outputs else -outputs["nll"] - outputs["kl"]
    np.testing.assert_allclose(found, bound(weights), rtol=1e-10)
    np.testing.assert_allclose(forward.nll, -log_likelihood.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(forward.kl, q.kl_divergence(vae.prior()), rtol=1e-12)


def test_renyi_s_bound_has_iwae_and_the_elbo_as_its_limits():
    model = LinearGaussian()
    x = model.sample(5)

    def bound(objective):
        return np.asarray(model.vae(0.3, 1.4, objective=objective)(x)["negative_bound"])

    np.testing.assert_array_equal(bound(RenyiBound(0.0, 9)), bound(IWAE(9)))
    np.testing.assert_allclose(bound(RenyiBound(1.0, 9)), bound(MIWAE(9, 9)), rtol=1e-12)
    np.testing.assert_allclose(bound(RenyiBound(1.0 - 1e-7, 9)), bound(RenyiBound(1.0, 9)), rtol=1e-5)
    np.testing.assert_allclose(bound(RenyiBound(1.0 + 1e-7, 9)), bound(RenyiBound(1.0, 9)), rtol=1e-5)
    bounds = [-bound(RenyiBound(alpha, 9)) for alpha in (-2.0, 0.0, 0.5, 1.0, 2.0)]
    for larger, smaller in itertools.pairwise(bounds):
        assert (larger > smaller).all()
    np.testing.assert_array_equal(bound(CIWAE(0.0, 9)), bound(IWAE(9)))
    np.testing.assert_array_equal(bound(MIWAE(1, 9)), bound(IWAE(9)))


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9, 1e-12])
def test_renyi_s_bound_is_smooth_at_its_limit_in_float32(distance):
    """By its series to second order, mean + (1 - alpha) variance / 2, and so is its gradient."""
    log_weights = tf.constant(3.0 * np.random.default_rng(0).normal(size=(5, 6)) - 20.0, "float32")
    for alpha in (1.0 - distance, 1.0 + distance):
        with tf.GradientTape() as tape:
            tape.watch(log_weights)
            bound = RenyiBound(alpha, 5).bound(log_weights, None)
        exact = np.asarray(log_weights, "float64")
        expected = exact.mean(axis=0) + 0.5 * (1.0 - alpha) * exact.var(axis=0)
        np.testing.assert_allclose(bound, expected, rtol=2e-6)
        slope = (1.0 + (1.0 - alpha) * (exact - exact.mean(axis=0))) / 5
        np.testing.assert_allclose(tape.gradient(bound, log_weights), slope, rtol=2e-5)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_weight_of_zero_leaves_what_ciwae_has_finite_as_it_is(beta):
    """The ELBO of a weight of 0 is minus infinity; the other bound is not."""
    log_weights = np.array([[0.0, 2.0, -np.inf], [-np.inf, 1.0, -np.inf]])
    forward = ForwardPass(None, None, None, None, None)
    found = CIWAE(beta=beta, num_samples=2).bound(tf.constant(log_weights), forward)
    elbo, tighter = log_weights.mean(axis=0), logsumexp(log_weights, axis=0) - np.log(2.0)
    expected = {0.0: tighter, 1.0: elbo}[beta] if beta in (0.0, 1.0) else beta * elbo + (1.0 - beta) * tighter
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_renyi_s_estimate_is_biased_and_less_so_with_more_draws():
    """At alpha = 0.5 it lies below the L_alpha that quadrature gives, by more than 5 standard errors, and by 5 draws
    more than by 50."""
    model = LinearGaussian(latent=1)
    x = model.sample(1)
    vae = model.vae(1.0, 1.5)
    q = vae.encode(x)
    mean, stddev = float(q.mean()[0, 0]), float(q.stddev()[0, 0])

    def integrand(z):
        log_q = stats.norm(mean, stddev).logpdf(z)
        log_p = stats.norm(z * model.weights[:, 0] + model.bias, model.sigma).logpdf(x[0]).sum() + stats.norm.logpdf(z)
        return np.exp(0.5 * log_p + 0.5 * log_q)

    exact = 2.0 * np.log(integrate.quad(integrand, mean - 12 * stddev, mean + 12 * stddev, epsabs=0.0)[0])
    log_weights = log_weights_of(vae, x[0], 400_000)
    biases = []
    for draws in (5, 50):
        bounds = 2.0 * log_mean_exp(0.5 * log_weights.reshape(-1, draws))
        biases.append(bounds.mean() - exact)
        assert biases[-1] < -5 * bounds.std() / np.sqrt(len(bounds))
    assert biases[0] < 3 * biases[1]
    assert exact < model.log_prob(np.repeat(x, 2, axis=0))[0]


# What a model reports and keeps.

X = digits()[:48]


@pytest.mark.parametrize(
    "objective",
    [
        IWAE(4, "dreg"),
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in (IWAE(4), ELBO(1.0, 2, gradient="stl"), CIWAE(0.5, 4))
        ),
    ],
    ids=str,
)
def test_nll_kl_and_elbo_are_reported_whatever_is_minimised(objective, tmp_path):
    vae = gaussian_vae(units=8, objective=objective)
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = vae.fit(X, epochs=2, batch_size=16, validation_data=X, verbose=0).history
    terms = list(objective.term_weights)
    assert {"elbo", "nll", "kl", *terms} <= set(history) and "val_elbo" in history
    np.testing.assert_allclose(history["elbo"], -np.add(history["nll"], history["kl"]), rtol=1e-5)
    np.testing.assert_allclose(history["loss"], sum(np.asarray(history[name]) for name in terms), rtol=1e-5)
    if "negative_bound" in terms:
        assert np.less(np.negative(history["negative_bound"]), 0).all()
        assert np.greater(np.negative(history["negative_bound"]), history["elbo"]).all()
    vae.save(tmp_path / "vae.keras")
    loaded = keras_vae.load_model(tmp_path / "vae.keras")
    assert loaded.objective.get_config() == vae.objective.get_config()
    assert loaded.evaluate(X, verbose=0, return_dict=True) == vae.evaluate(X, verbose=0, return_dict=True)
    vae.export(tmp_path / "served", verbose=False)
    score = tf.saved_model.load(tmp_path / "served").signatures["score"]
    found = score(x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    assert {"elbo", "nll", "kl", "log_likelihood", *terms} <= set(found)
    np.testing.assert_allclose(found["elbo"], -found["nll"] - found["kl"], rtol=1e-5)


def test_the_pass_at_other_latents_has_their_densities():
    model = LinearGaussian()
    vae = model.vae(0.3, objective=IWAE(2, gradient="dreg"))
    x = model.sample(3)
    forward = vae.forward_pass(x, tf.constant([0, 1]))
    z = np.random.default_rng(0).normal(size=(4, 3, 2))
    there = forward.at(z)
    expected = stats.norm(z @ model.weights.T + model.bias, model.sigma).logpdf(x).sum(-1)
    np.testing.assert_allclose(there.log_likelihood, expected, rtol=1e-10)
    np.testing.assert_allclose(there.log_prior, stats.norm.logpdf(z).sum(-1), rtol=1e-10)
    assert isinstance(there, ForwardPass) and forward.z.shape == (2, 3, 2)


# Bad input.


def test_what_is_no_hyperparameter_stays_as_it_was_made():
    vae = gaussian_vae(units=4, objective=RenyiBound(0.5, 3))
    vae.objective.alpha = 0.25  # nothing is built
    vae.build((None, 8, 8, 1))
    for name, value in (("alpha", 1.0), ("num_samples", -3)):
        with pytest.raises(ValueError, match=rf"RenyiBound: expected `{name}` to stay .*RenyiBound\({name}=\.\.\.\)"):
            setattr(vae.objective, name, value)
    assert vae.objective.alpha == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IWAE(0), "IWAE: expected `num_samples` to be an integer >= 1; received: 0"),
        (lambda: IWAE(5, gradient="stl"), "IWAE: expected `gradient` to be one of 'plain', 'dreg'; received: 'stl'"),
        (lambda: ELBO(gradient="dreg"), "ELBO: expected `gradient` to be one of 'plain', 'stl'; received: 'dreg'"),
        (lambda: ELBO(kl="sampled"), "ELBO: expected `kl` to be one of 'auto', 'closed', 'draws'; received: 'sampled'"),
        (lambda: ELBO(kl="closed", gradient="stl"), 'expected `kl` to be "draws" or "auto" with gradient="stl"'),
        (lambda: RenyiBound(float("inf")), "RenyiBound: expected `alpha` to be a finite number; received: inf"),
        (lambda: RenyiBound("0.5"), "RenyiBound: expected `alpha` to be a finite number; received: '0.5'"),
        (lambda: MIWAE(3, 10), "expected `num_samples` to be a multiple of `num_bounds`.*10, num_bounds=3"),
        (lambda: CIWAE(1.5), "CIWAE: expected `beta` to be a finite number from 0 to 1"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_closed_form_that_there_is_not_is_refused_when_the_model_is_built():
    model = Switched()
    with pytest.raises(ValueError, match='with kl="closed"; none is registered of IndependentNormalDistribution from'):
        model.vae(objective=ELBO(kl="closed"))


def test_a_posterior_without_reparameterized_draws_is_refused():
    encoder = keras.Sequential([keras_vae.layers.IndependentBernoulli((2,))])
    decoder = keras.Sequential([keras_vae.layers.IndependentNormal(3)])
    vae = keras_vae.VAE(encoder, decoder, objective=IWAE(5, gradient="dreg"))
    with pytest.raises(ValueError, match="Expected the encoder to end in a reparameterized distribution"):
        vae.build((None, 3))
