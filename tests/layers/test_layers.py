"""Every check of checks.py on every row of cases.py; the floor under a learned variance; the KL of two Gaussians."""

import checks
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES

from keras_vae import layers, scales
from keras_vae.layers.families import independent_normal
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution

tfd = tfp.distributions


# Of a family's rows the first; what is costly is checked on the others by `make test-slow`.
FIRST = {type(case.make()): case for case in reversed(CASES)}.values()


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(
            case,
            check,
            marks=[pytest.mark.slow] if check in checks.COSTLY and case not in FIRST else [],
            id=f"{case}-{check.__name__}",
        )
        for case in CASES
        for check in checks.ALL
    ],
)
def test_distribution_layer(case, check):
    check(case)


# A variance driven to zero.

every_learned_sigma = pytest.mark.parametrize("case", [case for case in CASES if case.learns_sigma], ids=str)


def set_raw_log_variance(layer, raw):
    """Makes what a learned scale starts from, log sigma^2 before the floor, `raw` everywhere."""
    if layer.scale.parameters_per_element:
        kernel, bias = layer.weights
        kernel.assign(tf.zeros_like(kernel))
        units = bias.shape[0]
        bias.assign(np.where(np.arange(units) < units // 2, 0.0, raw))
    else:
        layer.scale.raw.assign(tf.fill(layer.scale.raw.shape, raw))


def sigma_of(distribution):
    """What a location-scale family calls its scale."""
    if isinstance(distribution, IndependentNormalDistribution):
        return distribution.stddev()
    return np.exp(checks.float64(distribution.log_scale))


@pytest.mark.parametrize("raw", [-13.8, -40.0, -1e4, -3e38])
@every_learned_sigma
def test_a_variance_driven_to_zero_meets_the_floor(case, raw):
    layer = checks.built(case)
    set_raw_log_variance(layer, raw)
    features, x = tf.constant(checks.features_of(case)), checks.data_of(case)
    with checks.uncompiled(), tf.GradientTape() as tape:
        distribution = layer(features)
        log_prob = distribution.log_prob(x)
        gradients = tape.gradient(log_prob, [weight.value for weight in layer.trainable_weights])
    sigma = np.sqrt(np.exp(np.float64(raw)) + layer.scale.floor**2)
    np.testing.assert_allclose(sigma_of(distribution), sigma, rtol=2e-6)
    checks.assert_finite([log_prob, *gradients], "log_prob or gradient")


@every_learned_sigma
def test_a_variance_driven_to_infinity_stays_finite(case):
    layer = checks.built(case)
    set_raw_log_variance(layer, 1e4)
    with checks.uncompiled(), tf.GradientTape() as tape:
        distribution = layer(checks.features_of(case))
        log_prob = distribution.log_prob(checks.data_of(case))
        gradients = tape.gradient(log_prob, [weight.value for weight in layer.trainable_weights])
    checks.assert_finite([log_prob, distribution.stddev(), *gradients], "log_prob, stddev or gradient")


# Where sigma comes from.


@pytest.mark.parametrize(
    ("scale", "initial"),
    [(0.3, 0.3), (scales.Fixed(2.5), 2.5), (scales.Shared(), 1.0), (scales.PerDimension(initial=0.2), 0.2)],
    ids=["number", "fixed", "shared", "per_dimension"],
)
def test_sigma_is_the_scales(scale, initial):
    layer = layers.IndependentNormal((2, 3), scale=scale)
    distribution = layer(np.ones((4, 5), "float32"))
    np.testing.assert_allclose(distribution.stddev(), np.full((4, 2, 3), initial), rtol=1e-6)
    np.testing.assert_allclose(layer.scale.value(), initial, rtol=1e-6)
    # The network gives the mean only.
    assert (5, 6) in [weight.shape for weight in layer.weights]


@pytest.mark.parametrize(("scale", "shape"), [(scales.Shared, ()), (scales.PerDimension, (2, 3))])
def test_a_learned_sigma_is_a_trainable_weight_of_the_layer(scale, shape):
    layer = layers.IndependentNormal((2, 3), scale=scale())
    distribution = layer(np.ones((4, 5), "float32"))
    assert [weight.shape for weight in layer.trainable_weights if weight.name == "raw_log_variance"] == [shape]
    sigma = np.broadcast_to(layer.scale.value(), (4, 2, 3))
    layer.scale.raw.assign(np.random.default_rng(0).normal(size=shape))
    after = np.broadcast_to(layer.scale.value(), (4, 2, 3))
    np.testing.assert_allclose(layer(np.ones((4, 5), "float32")).stddev(), after, rtol=1e-6)
    np.testing.assert_allclose(distribution.stddev(), sigma, rtol=1e-6)
    assert (np.abs(after / sigma - 1) > 1e-3).all()


def test_a_sigma_per_element_is_a_function_of_the_features():
    layer = layers.IndependentNormal(3)
    stddev = layer(np.random.default_rng(0).normal(size=(4, 5)).astype("float32")).stddev().numpy()
    assert isinstance(layer.scale, scales.PerElement)
    assert layer.weights[0].shape == (5, 6)
    assert len(np.unique(stddev)) == 12


@pytest.mark.parametrize("event_shape", [(), (3,), (2, 3)], ids=str)
def test_gaussian_draws_are_differentiable(event_shape):
    """The reparameterisation trick: z = mu + sigma eps, so dz/dmu = 1 and dz/dlog sigma^2 = (z - mu) / 2."""
    mean, log_variance = (tf.constant(array) for array in np.random.default_rng(0).normal(size=(2, 4, *event_shape)))
    with tf.GradientTape() as tape:
        tape.watch([mean, log_variance])
        z = IndependentNormalDistribution(mean, log_variance, event_ndims=len(event_shape)).sample(seed=(1, 2))
    to_mean, to_log_variance = tape.gradient(z, [mean, log_variance])
    np.testing.assert_allclose(to_mean, np.ones(mean.shape), rtol=1e-12)
    np.testing.assert_allclose(to_log_variance, (z - mean) / 2, rtol=1e-12)


# The KL of two Gaussians.


def gaussians(event_shape, batches=((4,), (4,)), dtype="float64"):
    """Two random `IndependentNormalDistribution`s, and the same as TFP's own."""
    rng = np.random.default_rng(0)
    ndims = len(event_shape)
    ours, theirs = [], []
    for batch in batches:
        mean, log_variance = (tf.constant(a, dtype) for a in rng.normal(size=(2, *batch, *event_shape)))
        ours.append(IndependentNormalDistribution(mean, log_variance, event_ndims=ndims))
        theirs.append(tfd.Independent(tfd.Normal(mean, tf.exp(log_variance / 2)), ndims))
    return *ours, *theirs


@pytest.mark.parametrize("event_shape", [(), (7,), (2, 3), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("prior_batch", [(4,), (), (1,), (3, 1)], ids=str)
def test_kl_is_tfps_closed_form(event_shape, prior_batch):
    q, p, plain_q, plain_p = gaussians(event_shape, ((4,), prior_batch))
    expected = tfd.kl_divergence(plain_q, plain_p)
    with checks.uncompiled():
        kl = tfd.kl_divergence(q, p)
        assert kl.shape == expected.shape
        np.testing.assert_allclose(kl, expected, rtol=1e-10)
        np.testing.assert_allclose(q.kl_divergence(p), expected, rtol=1e-10)


def test_kl_is_that_of_two_diagonal_multivariate_normals():
    q, p, *_ = gaussians((7,))
    diagonal = [tfd.MultivariateNormalDiag(d.mean(), d.stddev()) for d in (q, p)]
    np.testing.assert_allclose(tfd.kl_divergence(q, p), tfd.kl_divergence(*diagonal), rtol=1e-10)


def test_kl_with_a_plain_tfp_gaussian_works_either_way():
    q, p, plain_q, plain_p = gaussians((2, 3))
    expected = tfd.kl_divergence(plain_q, plain_p)
    np.testing.assert_allclose(tfd.kl_divergence(q, plain_p), expected, rtol=1e-10)
    np.testing.assert_allclose(tfd.kl_divergence(plain_q, p), expected, rtol=1e-10)


@pytest.mark.parametrize("jit_compile", [None, False, True], ids=["eager", "graph", "xla"])
def test_kl_dispatches_to_the_fused_op(jit_compile, monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return fused_op(*args, **kwargs)

    fused_op = independent_normal.gaussian_kl
    monkeypatch.setattr(independent_normal, "gaussian_kl", counted)
    q, p, plain_q, plain_p = gaussians((7,))

    def kl():
        return tfd.kl_divergence(q, p)

    result = kl() if jit_compile is None else tf.function(kl, jit_compile=jit_compile, autograph=False)()
    assert calls == [{"event_ndims": 1}]
    np.testing.assert_allclose(result, tfd.kl_divergence(plain_q, plain_p), rtol=1e-10)


@pytest.mark.parametrize("which", ["normal", "bernoulli"])
def test_log_prob_dispatches_to_the_fused_op(which, monkeypatch):
    """The log_prob of a layer's distribution is one XLA program."""
    layer = layers.IndependentNormal(3) if which == "normal" else layers.IndependentBernoulli(3)
    distribution = layer(np.ones((2, 5), "float32"))
    traced = tf.function(lambda x: distribution.log_prob(x), autograph=False).get_concrete_function(
        tf.TensorSpec((2, 3))
    )
    library = traced.graph.as_graph_def().library.function
    compiled = [function.signature.name for function in library if function.attr["_XlaMustCompile"].b]
    calls = [op.get_attr("f").name for op in traced.graph.get_operations() if "Call" in op.type]
    assert len(calls) == 1
    assert calls[0] in compiled


def test_kl_of_a_distribution_from_itself_is_exactly_zero():
    q, *_ = gaussians((7,), dtype="float32")
    np.testing.assert_array_equal(tfd.kl_divergence(q, q), np.zeros(4))


def test_kl_of_events_that_differ_is_refused():
    """As TFP refuses it: an event of one number is not broadcast to an event of five."""
    one, five = (
        IndependentNormalDistribution(tf.zeros((4, size)), tf.zeros((4, size)), event_ndims=1) for size in (1, 5)
    )
    with pytest.raises(ValueError, match=r"[Ee]vent shape"):
        tfd.kl_divergence(one, five)


def test_kl_of_events_of_different_rank_is_refused():
    """A batch of three events of five numbers is not one event of fifteen."""
    loc = tf.zeros((3, 5))
    with pytest.raises(ValueError, match=r"[Ee]vent shape"):
        tfd.kl_divergence(
            IndependentNormalDistribution(loc, loc, event_ndims=1),
            IndependentNormalDistribution(loc, loc, event_ndims=2),
        )


# The distributions, as TFP's.


@pytest.mark.parametrize("scale", [None, 0.5, scales.Shared(), scales.PerDimension()], ids=lambda s: type(s).__name__)
def test_a_batch_may_be_sliced_and_copied(scale):
    distribution = layers.IndependentNormal((2, 3), scale=scale)(np.random.default_rng(0).normal(size=(4, 5)))
    x = np.random.default_rng(1).normal(size=(4, 2, 3)).astype("float32")
    with checks.uncompiled():
        log_prob = distribution.log_prob(x).numpy()
        for part in (slice(1, 3), slice(None, None, 2)):
            assert type(distribution[part]) is IndependentNormalDistribution
            np.testing.assert_allclose(distribution[part].log_prob(x[part]), log_prob[part], rtol=1e-6)
        np.testing.assert_allclose(distribution[2].log_prob(x[2]), log_prob[2], rtol=1e-6)
        np.testing.assert_allclose(distribution.copy().log_prob(x), log_prob, rtol=1e-6)


def test_a_bernoulli_batch_may_be_sliced_and_copied():
    distribution = layers.IndependentBernoulli((2, 3))(np.random.default_rng(0).normal(size=(4, 5)))
    x = np.random.default_rng(1).binomial(1, 0.5, (4, 2, 3)).astype("float32")
    with checks.uncompiled():
        log_prob = distribution.log_prob(x).numpy()
        np.testing.assert_allclose(distribution[1:3].log_prob(x[1:3]), log_prob[1:3], rtol=1e-6)
        np.testing.assert_allclose(distribution.copy().log_prob(x), log_prob, rtol=1e-6)


def test_bernoulli_scores_integers_and_booleans_and_draws_floats():
    distribution = layers.IndependentBernoulli(3)(np.random.default_rng(0).normal(size=(2, 5)))
    bits = np.array([[0, 1, 1], [1, 0, 1]])
    with checks.uncompiled():
        expected = distribution.log_prob(bits.astype("float32"))
        for dtype in ("int32", "uint8", "bool"):
            np.testing.assert_array_equal(distribution.log_prob(tf.constant(bits, dtype)), expected)
    assert distribution.sample(seed=(1, 2)).dtype == "float32"


def test_bernoulli_has_no_weights_but_the_projections():
    layer = layers.IndependentBernoulli((2, 3))
    layer(np.ones((2, 5), "float32"))
    assert [weight.shape for weight in layer.weights] == [(5, 6), (6,)]


def test_a_custom_training_loop_fits_a_layer_to_its_data():
    """Maximum likelihood recovers the mean and the standard deviation of the data: here those of 1000 numbers."""
    y = np.random.default_rng(0).normal(3.0, 0.5, (1000, 1)).astype("float32")
    inputs = keras.Input((1,))
    model = keras.Model(inputs, layers.IndependentNormal(1, scale=scales.Shared())(inputs))
    optimizer = keras.optimizers.Adam(0.1)

    @tf.function(jit_compile=True, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model(tf.zeros((1000, 1))).log_prob(y))
        optimizer.apply(tape.gradient(loss, [w.value for w in model.trainable_weights]), model.trainable_weights)
        return loss

    optimizer.build(model.trainable_weights)
    losses = [step().numpy() for _ in range(300)]
    fitted = model(np.zeros((1, 1), "float32"))
    assert fitted.mean().numpy()[0, 0] == pytest.approx(y.mean(), abs=0.01)
    assert fitted.stddev().numpy()[0, 0] == pytest.approx(y.std(), abs=0.01)
    assert losses[-1] < losses[0]
