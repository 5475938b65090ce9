"""The properties that every row of cases.py must have: a check is a function of a case that raises if it is wrong.

Checks on random draws use fixed seeds, and say in their docstring how often a right library would fail them with a
seed taken at random.
"""

import contextlib
import functools
import json
import pathlib
import tempfile

import keras
import numpy as np
import scipy.linalg
import scipy.stats
import tensorflow as tf
from cases import float64
from keras import ops

BATCH = 4
SEED = (20, 13)


@contextlib.contextmanager
def uncompiled():
    """Within, `tf.function` runs as plain Python, XLA or not: for wide sweeps, and as the referee of what XLA makes."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@contextlib.contextmanager
def dtype_policy(name):
    """Within, `name` is the global dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def value_and_gradients(function, operands, upstream=None):
    """`[value, *gradients]` of a function of the operands."""
    operands = [tf.convert_to_tensor(operand) for operand in operands]
    with tf.GradientTape() as tape:
        tape.watch(operands)
        value = function(*operands)
    return [value, *tape.gradient(value, operands, output_gradients=upstream)]


def directional_derivative(function, x, direction, step=1e-3):
    """The derivative of a scalar function at the float64 array x: central differences of fourth order, to about 1e-11
    of the function's size.
    """
    values = [function(x + k * step * direction) for k in (-2, -1, 1, 2)]
    return float(np.dot([1, -8, 8, -1], values)) / (12 * step)


def numerical_gradient(function, x, step=1e-3):
    """The gradient of a scalar function at the float64 array x, by finite differences, element by element."""
    basis = np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([directional_derivative(function, x, direction, step) for direction in basis]).reshape(x.shape)


def features_of(case, dtype="float32", seed=1):
    """Features of a batch of examples."""
    return np.random.default_rng(seed).normal(size=(BATCH, *case.features)).astype(dtype)


def data_of(case, dtype="float32", samples=(), seed=2):
    """Data in the case's support, `[*samples, B, *event]`."""
    return case.draw_x(np.random.default_rng(seed), (*samples, BATCH, *case.event_shape)).astype(dtype)


def randomize(layer, seed=3):
    """Gives every weight random values, so that none has its initial one."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))


def built(case, dtype="float32"):
    """A layer of the case, made under a dtype policy, with random weights."""
    with dtype_policy(dtype):
        layer = case.make()
    layer.build((None, *case.features))
    randomize(layer)
    return layer


def assert_close(actual, expected, tolerance, what=""):
    """Equal shape, and values equal to a tolerance: relative above 1, absolute below."""
    actual, expected = float64(actual), float64(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=what)


def assert_finite(values, what):
    """No infinity and no NaN anywhere."""
    for value in values:
        assert np.isfinite(float64(value)).all(), f"{what}: {float64(value)}"


# What is saved and loaded.


def config_round_trip(case):
    """Serialised to JSON and back, a layer is of the same class and has the same config."""
    for layer in (case.make(name="last", trainable=False), case.make(projection=False, dtype="float64")):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        copy = keras.saving.deserialize_keras_object(config)
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config()
        for attribute in ("name", "trainable", "dtype_policy", "event_shape", "projection"):
            assert getattr(copy, attribute) == getattr(layer, attribute), attribute


def saved_model_round_trip(case):
    """A Sequential model saved as a .keras file and loaded has the same weights and the same distribution."""
    layer = case.make()
    model = keras.Sequential([keras.Input(case.features), layer])
    randomize(layer)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        copy = keras.saving.load_model(path)
    for weight, copied in zip(model.weights, copy.weights, strict=True):
        assert copied.name == weight.name
        np.testing.assert_array_equal(copied.numpy(), weight.numpy())
    before, after = model(features_of(case)), copy(features_of(case))
    assert type(after) is type(before)
    x = data_of(case)
    np.testing.assert_array_equal(after.log_prob(x), before.log_prob(x))
    np.testing.assert_array_equal(after.mean(), before.mean())
    np.testing.assert_array_equal(after.stddev(), before.stddev())


# What the distribution says.


def log_prob_is_scipys(case):
    """log_prob agrees with SciPy's, also for several draws of x an example, and for one x for all examples."""
    with uncompiled():
        distribution = built(case, "float64")(features_of(case, "float64"))
        one = data_of(case, "float64")[0]
        for x in (data_of(case, "float64"), data_of(case, "float64", samples=(3,)), one):
            expected = case.log_prob(distribution, x[np.newaxis] if x is one else x)
            assert_close(distribution.log_prob(x), expected, 1e-10)


def log_prob_is_scipys_in_float32(case):
    """log_prob, compiled, agrees with SciPy's as far as float32 goes."""
    distribution = built(case)(features_of(case))
    for x in (data_of(case), data_of(case, samples=(3,))):
        assert_close(distribution.log_prob(x), case.log_prob(distribution, x), 1e-5)


def moments_are_scipys(case):
    """mean(), stddev(), variance() and, where there are such, covariance() and entropy() agree with SciPy's."""
    distribution = built(case, "float64")(features_of(case, "float64"))
    marginal = case.marginal(distribution)
    assert_close(distribution.mean(), marginal.mean(), 1e-12, "mean")
    assert_close(distribution.stddev(), marginal.std(), 1e-12, "stddev")
    assert_close(distribution.variance(), marginal.var(), 1e-12, "variance")
    if case.correlation is not None:
        sigma = marginal.std().reshape(BATCH, -1)
        expected = case.correlation(distribution) * sigma[:, :, None] * sigma[:, None, :]
        assert_close(distribution.covariance(), expected, 1e-12, "covariance")
    if case.entropy is not None:
        assert_close(distribution.entropy(), case.entropy(distribution), 1e-12, "entropy")


def shapes_and_dtype(case):
    """Batch shape, event shape and dtype are right, known while tracing, and the same when asked of a tensor."""
    layer = built(case)
    distribution = layer(features_of(case))
    assert tuple(distribution.batch_shape) == (BATCH,)
    assert tuple(distribution.event_shape) == case.event_shape == layer.event_shape
    assert tuple(distribution.batch_shape_tensor()) == (BATCH,)
    assert tuple(distribution.event_shape_tensor()) == case.event_shape
    assert distribution.dtype == "float32"
    assert built(case, "float64")(features_of(case, "float64")).dtype == "float64"

    traced = []
    tf.function(lambda features: traced.append(layer(features))).get_concrete_function(
        tf.TensorSpec((None, *case.features))
    )
    assert traced[0].batch_shape.as_list() == [None]
    assert tuple(traced[0].event_shape) == case.event_shape


def symbolic_shape(case):
    """Keras's symbolic output has the shape and the dtype of a draw: in Sequential, functional and bare layers."""
    expected = (None, *case.event_shape)
    for dtype in ("float32", "float64", "mixed_float16", "mixed_bfloat16"):
        inputs = keras.Input(case.features)
        outputs = case.make(dtype=dtype)(inputs)
        drawn = keras.Model(inputs, outputs)(features_of(case)).sample(seed=SEED)
        assert outputs.shape == expected == (None, *drawn.shape[1:])
        assert outputs.dtype == drawn.dtype.name
    assert keras.Sequential([keras.Input(case.features), case.make()]).output_shape == expected
    layer = case.make()
    assert layer.compute_output_shape((7, *case.features)) == (7, *case.event_shape)
    assert layer.compute_output_spec(keras.KerasTensor((7, *case.features))).shape == (7, *case.event_shape)


def may_be_sliced_and_copied(case):
    """A batch's distribution may be sliced, and copied, as TFP's are."""
    with uncompiled():
        distribution, x = built(case)(features_of(case)), data_of(case)
        log_prob = distribution.log_prob(x).numpy()
        for part in (slice(1, 3), slice(None, None, 2), 2):
            assert_close(distribution[part].log_prob(x[part]), log_prob[part], 1e-5)
            assert type(distribution[part]) is type(distribution)
        assert_close(distribution.copy().log_prob(x), log_prob, 1e-6)


def mixed_precision_gives_float32(case):
    """Under a mixed policy the features are half precision, and distribution, draws and log_prob float32; so are the
    weights.
    """
    for policy in ("mixed_float16", "mixed_bfloat16"):
        layer = built(case, policy)
        distribution = layer(features_of(case))
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        assert distribution.dtype == "float32"
        x = data_of(case)
        log_prob = distribution.log_prob(x)
        for tensor in (log_prob, distribution.mean(), distribution.stddev(), distribution.sample(seed=SEED)):
            assert tensor.dtype == "float32"
        assert_close(log_prob, case.log_prob(distribution, x), 1e-5, policy)
        with dtype_policy(policy):
            assert case.make()(features_of(case)).log_prob(x).dtype == "float32"


# What is drawn.

DRAWS = 4000


@functools.cache
def _drawn(case):
    """A float64 distribution of the case, and draws from it, `[DRAWS, B, *event]`."""
    distribution = built(case, "float64")(features_of(case, "float64"))
    return distribution, distribution.sample(DRAWS, seed=SEED).numpy()


def seeded_sample_is_reproducible(case):
    """The same seed gives the same draw; another seed, another example and another draw differ."""
    layer, features = built(case), features_of(case)
    draw = layer(features).sample(200, seed=SEED).numpy()
    assert draw.shape == (200, BATCH, *case.event_shape)
    np.testing.assert_array_equal(layer(features).sample(200, seed=SEED), draw)
    assert (layer(features).sample(200, seed=(20, 14)).numpy() != draw).any()
    assert (draw[0] != draw[1:]).any()
    assert layer(features).sample(seed=3).shape == layer(features).sample().shape == (BATCH, *case.event_shape)
    support = getattr(layer(features), "support", None)
    assert support is None or not support.outside(draw).any()


def samples_fit_their_marginals(case):
    """Every element of the draws has the distribution that SciPy's cdf says: Kolmogorov-Smirnov on F(x), which is
    uniform; of whole numbers on F(x - 1) + u p(x), with u uniform (Brockwell, "Universal residuals", 2007). And all
    are in the support.

    False-alarm rate: 1e-6 (the level of each element's test is 1e-6 over the number of elements).
    """
    distribution, draws = _drawn(case)
    support = getattr(distribution, "support", None)
    assert support is None or not support.for_dtype("float64", "float64").outside(draws).any()
    marginal = case.marginal(distribution)
    if case.is_discrete:
        uniform = marginal.cdf(draws - 1) + np.random.default_rng(7).uniform(size=draws.shape) * marginal.pmf(draws)
    else:
        uniform = marginal.cdf(draws)
    columns = uniform.reshape(DRAWS, -1).T
    p_values = np.array([scipy.stats.kstest(column, "uniform").pvalue for column in columns])
    level = 1e-6 / len(columns)
    assert p_values.min() > level, f"smallest p-value {p_values.min():.2g}, level {level:.2g}"


def samples_have_the_mean_and_stddev(case):
    """The draws' mean and standard deviation are mean() and stddev(), within 6 standard errors, element by element.

    False-alarm rate: below 1e-6 (2e-9 for each of at most 96 numbers).
    """
    distribution, draws = _drawn(case)
    mean, stddev = distribution.mean().numpy(), distribution.stddev().numpy()
    error = np.abs(draws.mean(axis=0) - mean) / (stddev / np.sqrt(DRAWS))
    assert error.max() < 6
    # The standard error of the variance, from the draws' own fourth moment.
    squares = (draws - mean) ** 2
    error = np.abs(squares.mean(axis=0) - stddev**2) / (squares.std(axis=0) / np.sqrt(DRAWS))
    assert error.max() < 6


def elements_are_drawn_independently(case):
    """Draws of different elements, and of different examples, are uncorrelated, but as the family says:
    |r - rho| < 6 / sqrt(n).

    False-alarm rate: about 2e-6 (2e-9 for each of at most 48 * 47 / 2 pairs).
    """
    distribution, draws = _drawn(case)
    correlation = np.corrcoef(draws.reshape(DRAWS, -1), rowvar=False)
    expected = np.eye(len(correlation))
    if case.correlation is not None:
        expected = scipy.linalg.block_diag(*case.correlation(distribution))
    assert np.abs(correlation - expected).max() < 6 / np.sqrt(DRAWS)


def log_prob_of_the_draws_is_minus_the_entropy(case):
    """The mean of -log_prob over the draws is the entropy, SciPy's where we have none, within 5 standard errors.

    False-alarm rate: 2.3e-6 (5.7e-7 for each of 4 examples).
    """
    distribution, draws = _drawn(case)
    entropy = (
        case.marginal(distribution).entropy().sum(axis=case.event_axes)
        if case.entropy is None
        else (distribution.entropy())
    )
    with uncompiled():
        surprise = -distribution.log_prob(draws).numpy()
    error = np.abs(surprise.mean(axis=0) - entropy) / (surprise.std(axis=0) / np.sqrt(DRAWS))
    assert error.max() < 5


# What is differentiated and compiled.


def gradient_is_that_of_finite_differences(case):
    """In float64, the gradient of log_prob with respect to every weight, the features and x, unless that is whole
    numbers: in three random directions each.
    """
    rng = np.random.default_rng(4)
    layer = built(case, "float64")
    features, x = (tf.Variable(value) for value in (features_of(case, "float64"), data_of(case, "float64")))
    importance = rng.normal(size=BATCH)
    operands = [*(weight.value for weight in layer.trainable_weights), features]
    support = getattr(layer(features_of(case, "float64")), "support", None)
    if support is None or not support.is_integer:
        operands.append(x)

    def total():
        return tf.reduce_sum(importance * layer(features).log_prob(x))

    def total_at(variable, value):
        before = variable.numpy()
        variable.assign(value)
        result = total().numpy()
        variable.assign(before)
        return result

    with uncompiled():
        with tf.GradientTape() as tape:
            loss = total()
        for variable, gradient in zip(operands, tape.gradient(loss, operands), strict=True):
            for _ in range(3):
                direction = rng.normal(size=variable.shape)
                expected = directional_derivative(functools.partial(total_at, variable), variable.numpy(), direction)
                assert_close(np.sum(gradient.numpy() * direction), expected, 1e-7, variable.name)


def gradient_in_float32_is_that_in_float64(case):
    """The gradient of log_prob with respect to every weight, to 1e-3 of its size: also for features that are large, and
    for a scale at its floor.
    """
    narrow, wide = built(case, "float32"), built(case, "float64")
    # Of the biases: the last takes a learned sigma to its floor, and a triangle of correlations next to singular.
    for shift in (0.0, 4.0) if case.correlation else (0.0, 4.0, -14.0):
        gradients = []
        for weight in narrow.weights:
            if len(weight.shape) < 2:
                weight.assign(weight + shift)
        for weight, same in zip(wide.weights, narrow.weights, strict=True):
            weight.assign(same.numpy().astype("float64"))
        for layer, dtype in ((narrow, "float32"), (wide, "float64")):
            with uncompiled(), tf.GradientTape() as tape:
                log_prob = layer(features_of(case).astype(dtype)).log_prob(data_of(case).astype(dtype))
            gradients.append(tape.gradient(log_prob, [weight.value for weight in layer.trainable_weights]))
        for ours, exact in zip(*gradients, strict=True):
            size = np.abs(float64(exact)).max()
            assert np.abs(float64(ours) - float64(exact)).max() <= 1e-3 * max(size, 1.0), f"biases by {shift}"


def xla_is_the_same_as_eager(case):
    """Log-density, moments and gradients are the same eagerly, in one XLA program, and without XLA anywhere."""
    layer = built(case, "float64")
    features, x = features_of(case, "float64"), data_of(case, "float64")

    def results(features, x):
        with tf.GradientTape() as tape:
            distribution = layer(features)
            log_prob = distribution.log_prob(x)
        gradients = tape.gradient(log_prob, [weight.value for weight in layer.trainable_weights])
        moments = [distribution.mean(), distribution.stddev()]
        if case.entropy is not None:
            moments.append(distribution.entropy())
        return [log_prob, *moments, *gradients]

    whole = tf.function(results, jit_compile=True, autograph=False)(features, x)
    eager = results(features, x)
    with uncompiled():
        referee = results(features, x)
    for compiled, one_op, plain in zip(whole, eager, referee, strict=True):
        assert_close(compiled, plain, 1e-12)
        assert_close(one_op, plain, 1e-12)


def draws_under_xla_fit_too(case):
    """A draw made inside an XLA program has the mean and stddev of the distribution, within 6 standard errors.

    (XLA's generator is another than the eager one: the same seed gives another draw.)

    False-alarm rate: below 1e-6 (2e-9 for each of at most 96 numbers).
    """
    layer, features = built(case), features_of(case)
    sample = tf.function(lambda features: layer(features).sample(DRAWS, seed=SEED), jit_compile=True, autograph=False)
    draws = float64(sample(features))
    np.testing.assert_array_equal(sample(features), draws)
    mean, stddev = float64(layer(features).mean()), float64(layer(features).stddev())
    squares = (draws - mean) ** 2
    assert (np.abs(draws.mean(axis=0) - mean) / (stddev / np.sqrt(DRAWS))).max() < 6
    assert (np.abs(squares.mean(axis=0) - stddev**2) / (squares.std(axis=0) / np.sqrt(DRAWS))).max() < 6


def extreme_features_stay_finite(case):
    """Features of 1e4 either way give a finite log_prob and finite gradients, in float32."""
    layer, signs = built(case), np.sign(features_of(case))
    x = data_of(case)
    for either in (signs, -signs, np.abs(signs), -np.abs(signs)):
        features = tf.constant(1e4 * either)
        with tf.GradientTape() as tape:
            tape.watch(features)
            log_prob = layer(features).log_prob(x)
        gradients = tape.gradient(log_prob, [*(weight.value for weight in layer.trainable_weights), features])
        assert_finite([log_prob], "log_prob")
        assert_finite(gradients, "gradient")


class Regression(keras.Model):
    """A distributional regression: features to a distribution of y, trained by maximum likelihood through add_loss."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        features, y = inputs
        nll = -self.layer(features).log_prob(y)
        self.add_loss(ops.mean(nll))
        return nll


def trains_in_a_plain_keras_model(case):
    """On its own in a Keras model, trained by `fit` on -log_prob: the loss falls, on data that depends on features."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(256, *case.features)).astype("float32")
    # The largest of four draws where the first feature is positive, and else the smallest.
    is_larger = features.reshape(256, -1)[:, :1].reshape(256, *(1 for _ in case.event_shape)) > 0
    draws = case.draw_x(rng, (4, 256, *case.event_shape))
    y = np.where(is_larger, draws.max(axis=0), draws.min(axis=0)).astype("float32")
    keras.utils.set_random_seed(0)
    model = Regression(case.make())
    model.layer.build((None, *case.features))
    model.compile(keras.optimizers.SGD(0.02))
    before = [weight.numpy() for weight in model.trainable_weights]
    history = model.fit([features, y], batch_size=64, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert_finite([history], "loss")
    assert history[-1] < history[0]
    for weight, initial in zip(model.trainable_weights, before, strict=True):
        assert (weight.numpy() != initial).any(), f"{weight.path} was not trained"


# What takes XLA seconds a row.
COSTLY = [
    gradient_is_that_of_finite_differences,
    gradient_in_float32_is_that_in_float64,
    xla_is_the_same_as_eager,
    draws_under_xla_fit_too,
    extreme_features_stay_finite,
    trains_in_a_plain_keras_model,
]

ALL = [
    config_round_trip,
    saved_model_round_trip,
    log_prob_is_scipys,
    log_prob_is_scipys_in_float32,
    moments_are_scipys,
    shapes_and_dtype,
    may_be_sliced_and_copied,
    symbolic_shape,
    mixed_precision_gives_float32,
    seeded_sample_is_reproducible,
    samples_fit_their_marginals,
    samples_have_the_mean_and_stddev,
    elements_are_drawn_independently,
    log_prob_of_the_draws_is_minus_the_entropy,
    *COSTLY,
]
