"""Free bits and a capacity: their values against NumPy, their gradients, and where they are refused."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from checks import dtype_policy
from saved import vae_of
from small import LinearGaussian, digits, gaussian_vae
from variants import fast_for

import keras_vae
from keras_vae import layers
from keras_vae.backend import tfd
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.layers.units import closed_kl_of_units
from keras_vae.objectives import ELBO, Capacity, FreeBits
from keras_vae.schedules import LinearWarmup

SEED = np.array([0, 1], "int32")
MODEL = LinearGaussian(latent=4)
X = MODEL.sample(7)
WEIGHTS = np.array([0.0, 2.0, 1.0, 0.5, 0.0, 3.0, 1.0])


def exact_kl(vae):
    """KL of each unit from N(0, 1), [N, 4], by NumPy."""
    mean = X @ MODEL.encoder_weights + MODEL.encoder_bias + 0.3
    variance = MODEL.posterior_variance
    return 0.5 * (mean**2 + variance - 1.0 - np.log(variance))


def vae_with(objective):
    return MODEL.vae(posterior_shift=0.3, objective=objective)


def terms_of(vae, weights=None, x=X, step=None):
    forward = vae.forward_pass(x, SEED)
    return vae.objective(dataclasses.replace(forward, sample_weight=weights, step=step))


GROUPS = {
    "unit": ("unit", [[0], [1], [2], [3]]),
    "all": ("all", [[0, 1, 2, 3]]),
    "pairs": (2, [[0, 1], [2, 3]]),
    "lists": ([[0, 2, 3], (1,)], [[0, 2, 3], [1]]),
}
LEVELS = [0.0, 0.4, 0.9, 3.0]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("name", GROUPS)
def test_free_bits_are_numpy_s(name, over, weights):
    """In float64, to 1e-9: below every group's KL, between them, and above."""
    groups, lists = GROUPS[name]
    vae = vae_with(FreeBits(0.0, groups, over))
    units = exact_kl(vae)
    kl = np.stack([units[:, group].sum(axis=1) for group in lists], axis=1)
    for level in LEVELS:
        vae.objective.level = level
        if over == "example":
            expected = np.maximum(np.float32(level), kl).sum(axis=1)
        else:
            expected = np.full(7, np.maximum(np.float32(level), np.average(kl, axis=0, weights=weights)).sum())
        terms = terms_of(vae, weights)
        np.testing.assert_allclose(terms["free_bits"], expected, rtol=1e-9)
        assert terms["free_bits"].dtype == "float64" and list(terms) == ["nll", "free_bits"]


def test_a_level_of_0_is_the_elbo_and_weights_that_are_all_0_are_no_number_to_divide_by():
    vae = vae_with(FreeBits(0.0))
    mean = np.mean(terms_of(vae)["free_bits"])
    np.testing.assert_allclose(mean, exact_kl(vae).sum(axis=1).mean(), rtol=1e-9)
    np.testing.assert_allclose(terms_of(vae, np.zeros(7))["free_bits"], mean, rtol=1e-9)


@pytest.mark.parametrize("over", ["batch", "example"])
def test_a_group_below_its_level_has_no_gradient(over):
    """By the columns of the encoder's weights, one a unit, of the KL's part alone."""
    vae = vae_with(FreeBits(0.0, "unit", over))
    kl = exact_kl(vae)
    level = np.sort(kl.mean(axis=0))[1:3].mean()  # two units are below it, two above
    vae.objective.level = level
    weights = vae.encoder.trainable_variables[1]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(terms_of(vae)["free_bits"])
    found = np.asarray(tape.gradient(loss, weights.value))
    of_mean = X @ MODEL.encoder_weights + MODEL.encoder_bias + 0.3  # d KL_j / d mean_j
    is_above = np.tile(kl.mean(axis=0) > level, (7, 1)) if over == "batch" else kl > level
    np.testing.assert_allclose(found, X.T @ (is_above * of_mean) / 7, rtol=1e-6, atol=1e-12)
    assert over == "example" or (np.all(found[:, ~is_above[0]] == 0.0) and is_above[0].sum() == 2)


def test_of_a_laplace_prior_the_kl_of_a_unit_is_by_the_pass_s_draws():
    class Laplace(keras_vae.priors.Prior):
        def distribution(self):
            return tfd.Independent(tfd.Laplace(np.zeros(4), 0.5), 1)

    vae = vae_with(FreeBits(0.5, num_samples=3))
    vae = keras_vae.VAE(vae.encoder, vae.decoder, Laplace(dtype="float64"), vae.objective, dtype="float64", seed=0)
    vae.build(X.shape)
    forward = vae.forward_pass(X, SEED)
    mean, sigma = np.asarray(forward.posterior.mean()), np.sqrt(MODEL.posterior_variance)
    log_ratio = scipy.stats.norm(mean, sigma).logpdf(forward.z) - scipy.stats.laplace(0.0, 0.5).logpdf(forward.z)
    expected = np.maximum(0.5, log_ratio.mean(axis=(0, 1))).sum()
    np.testing.assert_allclose(vae.objective(forward)["free_bits"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (FreeBits(0.1), "expected a posterior of independent latents.*groups='unit'; received MultivariateNormalTriL"),
        (FreeBits(0.1, 1), "expected a posterior of independent latents"),
    ],
)
def test_units_that_depend_on_each_other_are_refused_when_built(objective, message):
    vae = vae_of(layers.IndependentNormal(3), posterior=layers.MultivariateNormalTriL(2), objective=objective)
    with pytest.raises(ValueError, match=f'FreeBits: {message}.*groups="all"'):
        vae.build((None, 3))
    vae = vae_of(
        layers.IndependentNormal(3), posterior=layers.MultivariateNormalTriL(2), objective=FreeBits(0.1, "all")
    )
    forward = vae.forward_pass(np.ones((5, 3), "float32"), SEED)
    expected = max(0.1, float(np.mean(forward.posterior.kl_divergence(forward.prior))))
    np.testing.assert_allclose(vae.objective(forward)["free_bits"], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ours", "TFP's"])
def test_the_kl_of_units_is_float64_s_where_variances_are_extreme(kind):
    """Values and gradients in float32, of log variances whose ratio or square is too large or too small for it."""
    log_variance = np.array([-100.0, -85.0, -100.0, 100.0, 85.0, -3.0, 0.0, -90.0, 1.0], "float32")
    of_prior = np.array([0.0, 0.0, -85.0, 90.0, 0.0, 85.0, 100.0, 95.0, 0.0], "float32")
    shift = np.array([0.5, 0.5, 0.0, 1.0, 0.5, 2.0, 3.0, 0.0, 0.5], "float32")
    means, free = tf.constant(shift[None]), tf.constant(log_variance[None])
    with tf.GradientTape() as tape:
        tape.watch([means, free])
        if kind == "ours":
            posterior = IndependentNormalDistribution(means, free, 1)
            prior = IndependentNormalDistribution(tf.zeros(9), tf.constant(of_prior), 1)
        else:
            posterior = tfd.MultivariateNormalDiag(means, tf.exp(0.5 * free))
            prior = tfd.MultivariateNormalDiag(tf.zeros(9), tf.exp(0.5 * of_prior))
        found = closed_kl_of_units(posterior, prior)
    log_ratio = log_variance.astype("float64") - of_prior
    precision = np.exp(-of_prior.astype("float64"))
    expected = 0.5 * (np.expm1(log_ratio) - log_ratio + shift**2 * precision)
    # A standard deviation, which is TFP's parameter, is exact to 1e-7: an exponent of 100 to 1e-5.
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    of_means, of_variances = tape.gradient(found, [means, free])
    np.testing.assert_allclose(of_means[0], shift * precision, rtol=1e-4, atol=1e-37)
    np.testing.assert_allclose(of_variances[0], 0.5 * np.expm1(log_ratio), rtol=1e-4)


def test_a_diagonal_gaussian_of_tfp_has_independent_units():
    class Diagonal(keras.layers.Layer):
        def call(self, features):
            return tfd.MultivariateNormalDiag(features[:, :2], keras.ops.exp(features[:, 2:]))

        def compute_output_spec(self, features):
            return keras.KerasTensor((features.shape[0], 2))

    vae = vae_of(layers.IndependentNormal(3), posterior=Diagonal(), objective=FreeBits(0.0, 2))
    forward = vae.forward_pass(np.ones((5, 3), "float32"), SEED)
    np.testing.assert_allclose(vae.objective(forward)["free_bits"], forward.kl, rtol=1e-5)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (3, r"expected `groups` to be a number that divides that of the latents, of which there are 4; received: 3"),
        ([[0, 1], [2]], r"expected `groups` to be lists that have each of the latents 0 to 3 once, .* are 4"),
        ([[0, 1], [2, 3, 3]], "once"),
    ],
)
def test_groups_that_do_not_fit_are_refused_when_built(groups, message):
    with pytest.raises(ValueError, match=f"FreeBits: .*{message}"):
        vae_with(FreeBits(0.1, groups))


FALLING = keras.optimizers.schedules.PolynomialDecay(1.0, 100, end_learning_rate=-1.0)
WRONG = [
    (lambda: FreeBits(-0.1), "FreeBits: expected `level` to be a finite number >= 0, a float keras.*received: -0.1"),
    (
        lambda: FreeBits(FALLING),
        "FreeBits: expected `level` to be a schedule of finite .*, which gives -0.28 at step 64",
    ),
    (lambda: FreeBits(0.1, beta=np.inf), "FreeBits: expected `beta` to be a finite number >= 0.*received: inf"),
    (lambda: FreeBits(0.1, "layer"), "FreeBits: expected `groups` to be .unit., .all., an integer .*received: 'layer'"),
    (lambda: FreeBits(0.1, 0), "FreeBits: expected `groups` to be .*received: 0"),
    (lambda: FreeBits(0.1, [[0], []]), "FreeBits: expected `groups` to be .*received"),
    (lambda: FreeBits(0.1, [0, 1]), "FreeBits: expected `groups` to be .*received"),
    (lambda: FreeBits(0.1, over="mean"), "FreeBits: expected `over` to be one of 'batch', 'example'; received: 'mean'"),
    (lambda: Capacity(-1.0), "Capacity: expected `capacity` to be a finite number >= 0.*received: -1.0"),
    (
        lambda: Capacity(FALLING),
        "Capacity: expected `capacity` to be a schedule of finite numbers >= 0; received.*-0.28",
    ),
    (lambda: Capacity(1.0, gamma=None), "Capacity: expected `gamma` to be a finite number >= 0.*received: None"),
    (lambda: Capacity(1.0, over=0), "Capacity: expected `over` to be one of 'example', 'batch'; received: 0"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Capacity.


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_a_capacity_is_equation_8(weights):
    schedule = LinearWarmup(10, end=5.0)
    kl = exact_kl(None).sum(axis=1)
    for over, held in (("example", kl), ("batch", np.full(7, np.average(kl, weights=weights)))):
        vae = vae_with(Capacity(schedule, gamma=3.0, over=over))
        for step, capacity in ((0, 0.0), (4, 2.0), (20, 5.0), (None, 5.0)):
            terms = terms_of(vae, weights, step=step)
            np.testing.assert_allclose(terms["capacity_gap"], np.abs(held - capacity), rtol=1e-6, atol=1e-6)
    assert vae.objective.term_weights == {"nll": 1.0, "capacity_gap": 3.0}


def test_training_takes_the_kl_to_the_capacity():
    """Of digits, from above and from below: within 10% after 40 epochs."""
    for capacity in (2.0, 9.0):
        vae = gaussian_vae(latent=4, scale=keras_vae.scales.Fixed(0.3), objective=Capacity(capacity, gamma=20.0))
        vae.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
        logs = vae.fit(digits(), batch_size=100, epochs=40, verbose=0).history
        np.testing.assert_allclose(logs["kl"][-1], capacity, rtol=0.1)
        total = np.array(logs["nll"]) + 20.0 * np.array(logs["capacity_gap"])
        np.testing.assert_allclose(logs["loss"], total, rtol=1e-4)


# Both, in training.


@pytest.mark.parametrize("policy", fast_for("mixed_float16", among=["float32", "mixed_float16", "float64"]))
@pytest.mark.parametrize(
    "make",
    [
        lambda: FreeBits(LinearWarmup(3, 0.5, 0.1)),
        lambda: FreeBits(0.5, 3, beta=LinearWarmup(3)),
        lambda: Capacity(LinearWarmup(4, end=3.0), over="batch"),
    ],
)
def test_blocks_under_xla_are_steps_run_eagerly(make, policy):
    """With sample weights, in the curve of every metric."""
    curves = []
    for options in ({"jit_compile": True}, {"run_eagerly": True}):
        with dtype_policy(policy):
            vae = gaussian_vae(units=8, objective=make())
        vae.compile(keras.optimizers.SGD(1e-4), **options)
        weights = np.linspace(0.0, 2.0, 24)
        fitted = vae.fit(digits()[:24], sample_weight=weights, batch_size=8, epochs=2, shuffle=False, verbose=0)
        curves.append(fitted.history)
    for name, curve in curves[1].items():
        np.testing.assert_allclose(curves[0][name], curve, rtol=2e-3 if "16" in policy else 1e-5, err_msg=name)


def test_an_example_of_weight_0_counts_for_nothing():
    """A batch with rubbish of weight 0 is the batch without: loss times the sizes, and gradients."""
    losses = []
    for x, weights in ((X[:4], np.ones(4)), (np.r_[X[:4], 9.0 * X[4:]], np.r_[np.ones(4), np.zeros(3)])):
        vae = vae_with(FreeBits(0.5))
        vae.compile("sgd", jit_compile=False)
        losses.append(len(x) * vae.evaluate(x, sample_weight=weights, verbose=0, return_dict=True)["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.parametrize("make", [FreeBits, Capacity])
def test_a_constant_that_is_set_counts_from_the_next_step_on(make):
    vae = gaussian_vae(units=8, objective=make(50.0))
    vae.compile(keras.optimizers.SGD(1e-6), jit_compile=False)
    name = list(vae.objective.term_weights)[1]
    constant = "level" if make is FreeBits else "capacity"
    first = vae.fit(digits()[:16], verbose=0).history[name][0]
    setattr(vae.objective, constant, 80.0)
    second = vae.fit(digits()[:16], verbose=0).history[name][0]
    assert second - first == pytest.approx(30.0 * (3 if make is FreeBits else 1), rel=1e-2)
    assert vae.get_config()["objective"]["config"][constant] == 80.0


# A constant that is no weight.


def test_a_schedule_of_a_constant_counts_the_steps_of_the_optimizer_around():
    """And has its final value in evaluation, and in a model that nothing trains."""
    inner = gaussian_vae(units=8, objective=Capacity(LinearWarmup(4, 100.0, 500.0), gamma=1.0))

    class Larger(keras.Model):
        def __init__(self):
            super().__init__()
            self.vae = inner
            self.kl, self.gap = keras.metrics.Mean(name="kl"), keras.metrics.Mean(name="gap")

        def call(self, x, training=None):
            terms = self.vae(x, training=training)
            self.kl.update_state(terms["kl"]), self.gap.update_state(terms["capacity_gap"])
            return terms["reconstruction"]

    model = Larger()
    model.compile(keras.optimizers.SGD(1e-6))
    logs = model.fit(digits()[:8], validation_data=digits()[:8], epochs=6, verbose=0).history
    capacity = np.add(logs["kl"], logs["gap"])
    np.testing.assert_allclose(capacity, [100, 200, 300, 400, 500, 500], rtol=1e-3)
    np.testing.assert_allclose(np.add(logs["val_kl"], logs["val_gap"]), 500.0, rtol=1e-3)
    terms = inner(digits()[:8])
    np.testing.assert_allclose(terms["kl"] + terms["capacity_gap"], 500.0, rtol=1e-3)


@pytest.mark.parametrize("make", [FreeBits, Capacity, lambda level: ELBO(beta=level)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_schedule_that_is_not_finite_is_refused(make, value):
    class Broken(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return value if step >= 2**20 else 1.0

        def get_config(self):
            return {}

    with pytest.raises(ValueError, match=f"to be a schedule of finite numbers >= 0; .* gives {value} at step 1048576"):
        make(Broken())
