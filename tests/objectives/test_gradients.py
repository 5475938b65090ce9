"""The gradients of the bounds: of every draw, against the formula taken apart; in the mean, against the exact ones."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import logsumexp
from small import LinearGaussian, digits, gaussian_vae

import keras_vae
from keras_vae import backend, objectives
from keras_vae.backend import tfd, tfp
from keras_vae.objectives import ELBO, IWAE

# Every posterior, in every draw.


class Coupling(keras.layers.Layer):
    """Ends an encoder in a flow: a network shifts and scales one latent by the other, and by x's features."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.last = keras.layers.Dense(5, "tanh"), keras.layers.Dense(4)
        self.by_other, self.by_context = keras.layers.Dense(2), keras.layers.Dense(2)

    def call(self, features):
        mean, raw = tf.split(self.last(self.hidden(features)), 2, axis=-1)
        context = self.by_context(features)

        def shift_and_log_scale(z, output_units, **_):
            shift, log_scale = tf.split(self.by_other(tf.tanh(z)) + context, 2, axis=-1)
            return shift, 0.5 * tf.tanh(log_scale)

        flow = tfp.bijectors.RealNVP(num_masked=1, shift_and_log_scale_fn=shift_and_log_scale)
        return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(mean, tf.nn.softplus(raw)), flow)

    def build(self, shape):
        self.hidden.build(shape), self.by_context.build(shape)
        self.last.build((None, 5)), self.by_other.build((None, 1))

    def compute_output_spec(self, features):
        if not self.built:
            self.build(features.shape)
        return keras.KerasTensor((features.shape[0], 2))


layers = keras_vae.layers
POSTERIORS = {
    "normal": lambda: [layers.IndependentNormal(2)],
    "tril": lambda: [layers.MultivariateNormalTriL(2)],
    "low rank": lambda: [layers.MultivariateNormalLowRank(2, rank=1)],
    "laplace": lambda: [layers.IndependentLaplace(2)],
    "flow": lambda: [Coupling()],
    "dropout": lambda: [keras.layers.Dropout(0.5, seed=3), layers.IndependentNormal(2)],
    "batch normalization": lambda: [keras.layers.BatchNormalization(), layers.IndependentNormal(2)],
}
X = np.random.default_rng(0).normal(size=(6, 4)).astype("float64")
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 1.0, 3.0])


@keras.saving.register_keras_serializable("tests")
class Learned(keras_vae.priors.Prior):
    """A prior with a mean that is learned."""

    def build(self, event_shape):
        super().build(event_shape)
        self.mean = self.add_weight(shape=event_shape, initializer=keras.initializers.Constant(0.3), name="mean")

    def distribution(self):
        return tfd.Independent(tfd.Normal(keras.ops.convert_to_tensor(self.mean), 1.0 + 0.0 * self.mean), 1)


def vae_of(posterior, objective):
    """A VAE in float64 whose decoder is no linear function of z."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("float64")
    try:
        encoder = keras.Sequential([keras.layers.Dense(7, "tanh"), *POSTERIORS[posterior]()])
        decoder = keras.Sequential([keras.layers.Dense(6, "tanh"), layers.IndependentNormal(4)])
        vae = keras_vae.VAE(encoder, decoder, prior=Learned(), objective=objective, seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    vae.build((None, 4))
    return vae


def gradients_of(loss, tape, vae):
    """Of encoder, decoder and prior, a list each; of what has none, zeros."""
    parts = [part.trainable_variables for part in (vae.encoder, vae.decoder, vae.prior)]
    found = [tape.gradient(loss, variables) for variables in parts]
    return [
        [tf.zeros(v.shape, v.dtype) if g is None else g for v, g in zip(*pair, strict=True)]
        for pair in zip(parts, found, strict=True)
    ]


def by_objective(vae):
    """The gradients of encoder, decoder and prior, by the model's own pass, and that pass."""
    with tf.GradientTape(persistent=True) as tape:
        forward = vae.forward_pass(X, tf.constant([0, 1]), training=True)
        terms = vae.objective(forward)
        loss = tf.reduce_mean(WEIGHTS * sum(terms.values()))
    return gradients_of(loss, tape, vae)


def by_hand(vae, share_of_z):
    """The same from the formula: the weights of each draw's d log w / dz, and of its d log w / d theta, are given.

    `share_of_z` takes the normalised weights v `[S, B]`, and gives how much the gradient along z counts; v itself is
    how much the decoder's and prior's counts, or 1 / S where the objective is an ELBO.
    """
    is_elbo = isinstance(vae.objective, ELBO)
    with tf.GradientTape(persistent=True) as tape:
        posterior = vae.encode(X, training=True)
        z = vae.objective.draw(posterior, tf.constant([0, 1]))
        held = tf.stop_gradient(z)
        tape.watch(held)
        of_theta = vae.decode(held, training=True).log_prob(X) + vae.prior().log_prob(held)
        log_weights = of_theta - posterior.log_prob(held)
        along_z = tape.gradient(log_weights, held)
        shares = tf.ones_like(log_weights) / z.shape[0] if is_elbo else tf.nn.softmax(log_weights, axis=0)
        shares = tf.stop_gradient(shares)
        counts = tf.stop_gradient(share_of_z(shares)[..., None] * along_z)
        loss_of_z = -tf.reduce_mean(WEIGHTS * tf.reduce_sum(counts * z, axis=[0, 2]))
        loss_of_theta = -tf.reduce_mean(WEIGHTS * tf.reduce_sum(shares * of_theta, axis=0))
    encoder, _, _ = gradients_of(loss_of_z, tape, vae)
    _, decoder, prior = gradients_of(loss_of_theta, tape, vae)
    return encoder, decoder, prior


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize(
    ("objective", "share_of_z"),
    [
        (lambda: ELBO(num_samples=5, gradient="stl"), lambda v: v),
        (lambda: IWAE(5, gradient="dreg"), lambda v: v**2),
    ],
    ids=["stl", "dreg"],
)
def test_the_gradients_are_those_of_the_formula_for_every_posterior(posterior, objective, share_of_z):
    """To 1e-9 of the largest, in every weight of encoder, decoder and prior; an example of weight 0 adds nothing."""
    for found, expected in zip(
        by_objective(vae_of(posterior, objective())), by_hand(vae_of(posterior, objective()), share_of_z), strict=True
    ):
        largest = max(float(tf.reduce_max(tf.abs(each))) for each in expected)
        assert largest > 1e-3
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9 * largest)


@keras.saving.register_keras_serializable("tests")
class Densities(objectives.Objective):
    """Terms of one's own, of the draws and their densities."""

    @property
    def term_weights(self):
        return {"distance": 1.0, "surprise": 1.0}

    def __call__(self, forward):
        distance = -tf.reduce_mean(forward.log_prior, axis=0)
        return {"distance": distance, "surprise": tf.reduce_mean(forward.log_posterior**2, axis=0)}


def test_terms_beside_dreg_have_their_own_gradient():
    """Of densities of the draws: the sum's gradient is the sum of both."""
    draws = 5
    alone = [IWAE(draws, gradient="dreg"), Densities(draws)]
    parts = [by_objective(vae_of("normal", objective)) for objective in alone]
    found = by_objective(vae_of("normal", objectives.Sum(*alone)))
    for one, first, second in zip(*map(tf.nest.flatten, (found, *parts)), strict=True):
        np.testing.assert_allclose(one, first + second, atol=1e-12)


def test_a_slope_that_is_not_finite_leaves_the_value_as_it_is():
    z, value = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([5.0, 6.0])
    slope = tf.constant([[np.nan, np.inf], [1.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch([z, value])
        found = backend.with_slope(z, value, slope)
        loss = tf.reduce_sum(found * [1.0, 3.0])
    np.testing.assert_array_equal(found, value)
    of_z, of_value = tape.gradient(loss, [z, value])
    np.testing.assert_array_equal(of_z, [[np.nan, np.inf], [3.0, 6.0]])
    assert of_value is None


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_they_differ_from_the_plain_ones_in_the_encoder_alone(posterior):
    """And not in the bound itself."""
    for plain, other in (
        (ELBO(num_samples=5, kl="draws"), ELBO(num_samples=5, gradient="stl")),
        (IWAE(5), IWAE(5, gradient="dreg")),
    ):
        models = [vae_of(posterior, objective) for objective in (plain, other)]
        one, two = (vae(X, training=True) for vae in models)
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-12)
        (encoder, *others), (other_encoder, *other_others) = map(by_objective, models)
        assert any(not np.allclose(a, b, rtol=1e-3) for a, b in zip(encoder, other_encoder, strict=True))
        for a, b in zip(itertools.chain(*others), itertools.chain(*other_others), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# The truth.


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        (ELBO(num_samples=3, kl="draws"), ELBO(num_samples=3, gradient="stl")),
        (IWAE(3), IWAE(3, gradient="dreg")),
    ],
    ids=["stl", "dreg"],
)
def test_at_the_true_posterior_the_encoder_s_gradient_is_zero_in_every_draw(plain, other):
    """To rounding; the plain one is not."""
    model = LinearGaussian()
    x = model.sample(20)

    def largest(objective):
        vae = model.vae(objective=objective)
        with tf.GradientTape() as tape:
            vae(x, training=True)
            loss = sum(vae.losses)
        return max(np.abs(each).max() for each in tape.gradient(loss, vae.encoder.trainable_variables))

    assert largest(other) < 1e-13
    assert largest(plain) > 0.01


class Line:
    """A linear-Gaussian model of one latent, whose bounds of one and two draws are sums over quadrature's nodes."""

    def __init__(self):
        self.model = LinearGaussian(latent=1)
        self.x = self.model.sample(1)
        self.nodes, weights = hermegauss(60)
        self.weights = weights / weights.sum()

    def vae(self, objective):
        return self.model.vae(0.4, 1.5, objective=objective)

    def log_weights(self, parameters):
        """At each node e of a standard normal: z = mean + stddev e. As a VAE has its parameters, flat."""
        log_variance, kernel, bias, decoder, mean = np.split(parameters, np.cumsum([1, 6, 1, 6]))
        variance = np.exp(log_variance)
        centre = self.x[0] @ kernel + bias
        z = centre + np.sqrt(variance) * self.nodes
        residual = self.x[0] - z[:, None] * decoder - mean
        log_p = -0.5 * (np.sum(residual**2, axis=1) / self.model.sigma**2 + z**2)
        return log_p + 0.5 * self.nodes**2 + 0.5 * log_variance

    def bound(self, parameters, draws):
        """Minus the bound, but for a constant: the mean over the nodes, or over pairs of them."""
        log_weights = self.log_weights(parameters)
        if draws == 1:
            return -self.weights @ log_weights
        pairs = logsumexp(np.stack(np.broadcast_arrays(log_weights[:, None], log_weights[None])), axis=0)
        return -self.weights @ pairs @ self.weights

    def exact_gradient(self, vae, draws):
        """By central differences of fourth order."""
        at = np.concatenate([np.ravel(each) for each in vae.trainable_variables])
        steps = np.eye(len(at)) * 1e-3
        return np.array(
            [
                (8 * (self.bound(at + h, draws) - self.bound(at - h, draws)))
                - (self.bound(at + 2 * h, draws) - self.bound(at - 2 * h, draws))
                for h in steps
            ]
        ) / (12 * 1e-3)


ESTIMATORS = {
    "closed": (lambda: ELBO(), 1),
    "draws": (lambda: ELBO(kl="draws"), 1),
    "stl": (lambda: ELBO(gradient="stl"), 1),
    "iwae": (lambda: IWAE(2), 2),
    "dreg": (lambda: IWAE(2, gradient="dreg"), 2),
}


def gradient_function(vae, x, variables):
    """A program of a seed to the gradient of the loss, flat."""

    @tf.function
    def gradient(seed):
        with tf.GradientTape() as tape:
            terms = vae.objective(vae.forward_pass(x, seed, training=True))
            loss = sum(tf.reduce_mean(term) for term in terms.values())
        return tf.concat([tf.reshape(each, [-1]) for each in tape.gradient(loss, variables)], 0)

    return gradient


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_mean_gradient_is_the_exact_one(name):
    """Of 15 weights, encoder and decoder, over 400 passes of 50 copies of one example, within 5 standard errors.

    False alarms: 6e-7 a weight. The exact one is that of a quadrature over the draws, by finite differences.
    """
    objective, draws = ESTIMATORS[name]
    line = Line()
    vae = line.vae(objective())
    x = np.repeat(line.x, 50, axis=0)

    gradient = gradient_function(vae, x, vae.trainable_variables)
    found = np.stack([gradient(tf.constant([seed, 7])) for seed in range(400)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    expected = line.exact_gradient(vae, draws)
    assert np.abs(expected[:8]).max() > 10 * error[:8].max()
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected), 5 * error + 1e-9)


@pytest.mark.slow
def test_dreg_s_signal_grows_with_the_draws_and_the_plain_one_s_falls():
    """The signal-to-noise of the encoder's gradient, from 2 draws to 128: Rainforth et al., arXiv 1802.04537."""
    line = Line()
    ratios = {}
    for name in ("plain", "dreg"):
        for draws in (2, 128):
            vae = line.vae(IWAE(draws, gradient=name))
            gradient = gradient_function(vae, line.x, vae.encoder.trainable_variables)
            found = np.array([gradient(tf.constant([seed, 7]))[-1] for seed in range(2000)])
            ratios[name, draws] = abs(found.mean()) / found.std()
    assert ratios["dreg", 128] > 2 * ratios["dreg", 2]
    assert ratios["plain", 128] < 0.5 * ratios["plain", 2]


# In programs.

DIGITS = digits()[:48]


@pytest.mark.parametrize(
    "objective", [lambda: ELBO(num_samples=2, gradient="stl"), lambda: IWAE(3, gradient="dreg")], ids=["stl", "dreg"]
)
@pytest.mark.parametrize("policy", ["float32", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_blocks_under_xla_train_as_eager_steps_do(objective, policy):
    curves = []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        keras.config.set_dtype_policy(policy)
        try:
            vae = gaussian_vae(units=8, objective=objective())
        finally:
            keras.config.set_dtype_policy("float32")
        vae.compile(keras.optimizers.Adam(1e-2), **options)
        curves.append(vae.fit(DIGITS, epochs=3, batch_size=16, verbose=0).history)
    for name in curves[0]:
        rtol = 1e-5 if policy == "float32" else 1e-2
        np.testing.assert_allclose(curves[1][name], curves[0][name], rtol=rtol, err_msg=name)
