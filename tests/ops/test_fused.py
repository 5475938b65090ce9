"""What every loss op is: one XLA program each way, exact to any order, whatever the operands' shapes and dtypes."""

import dataclasses
import itertools
from collections.abc import Callable

import checks
import numpy as np
import pytest
import tensorflow as tf
from checks import assert_close, value_and_gradients

from keras_vae.ops import (
    bernoulli,
    bernoulli_nll,
    continuous_bernoulli,
    continuous_bernoulli_nll,
    discretized_logistic,
    discretized_logistic_nll,
    gaussian,
    gaussian_kl,
    gaussian_nll,
    logistic,
    logistic_nll,
    negative_binomial,
    negative_binomial_nll,
    poisson,
    poisson_nll,
)


@dataclasses.dataclass(frozen=True)
class Op:
    """A loss op: itself, its summand as one would write it down, and a sampler for each operand."""

    function: Callable
    reference: Callable
    samplers: tuple

    def __str__(self):
        return self.function.__name__

    def draw(self, *shapes, dtype="float64", seed=0):
        """Operands: of the one shape given, or of one shape each."""
        rng = np.random.default_rng(seed)
        shapes = shapes * len(self.samplers) if len(shapes) == 1 else shapes
        return [tf.constant(sampler(rng, shape), dtype) for sampler, shape in zip(self.samplers, shapes, strict=True)]


def location(rng, shape):
    return rng.normal(0.0, 1.5, shape)


def log_variance(rng, shape):
    return rng.uniform(-1.5, 1.5, shape)


def grey(rng, shape):
    return rng.uniform(0.0, 1.0, shape)


def inner_level(rng, shape):
    """Between the lowest and the highest level, where the probability is smooth in x too."""
    return rng.uniform(1.0, 254.0, shape)


def grey_location(rng, shape):
    return rng.normal(0.5, 0.3, shape)


def several(rng, shape):
    """Counts, as real numbers, in which the probability is smooth."""
    return rng.uniform(1.5, 12.0, shape)


OPS = [
    Op(gaussian_nll, gaussian.nll_reference, (location, location, log_variance)),
    Op(gaussian_kl, gaussian.kl_reference, (location, log_variance, location, log_variance)),
    Op(bernoulli_nll, bernoulli.nll_reference, (grey, location)),
    Op(logistic_nll, logistic.nll_reference, (location, location, log_variance)),
    Op(continuous_bernoulli_nll, continuous_bernoulli.nll_reference, (grey, location)),
    Op(discretized_logistic_nll, discretized_logistic.nll_reference, (inner_level, grey_location, log_variance)),
    Op(poisson_nll, poisson.nll_reference, (several, location)),
    Op(negative_binomial_nll, negative_binomial.nll_reference, (several, location, log_variance)),
]
every_op = pytest.mark.parametrize("op", OPS, ids=str)

# How an op may be called; each takes a function of tensors and gives one.
MODES = {
    "eager": lambda function: function,
    "in a graph": lambda function: tf.function(function, autograph=False),
    "in an XLA program": lambda function: tf.function(function, autograph=False, jit_compile=True),
}


def weights_like(value, seed=9):
    """Upstream gradients: random, so that no two examples count the same."""
    return tf.constant(np.random.default_rng(seed).normal(size=value.shape), value.dtype)


def summed(op, event_ndims):
    """The op as its plain formula and a sum: the referee."""
    axes = list(range(-event_ndims, 0))
    return lambda *operands: tf.reduce_sum(op.reference(*operands), axes)


# Gradients.


@every_op
def test_gradient_is_that_of_finite_differences(op):
    operands = op.draw((2, 3))
    with checks.uncompiled():  # compiled, it is the same: test_xla_is_the_same_as_eager
        upstream = weights_like(op.function(*operands))
        _, *gradients = value_and_gradients(op.function, operands, upstream)
        for index, gradient in enumerate(gradients):

            def total(array, index=index):
                changed = [*operands[:index], tf.constant(array), *operands[index + 1 :]]
                return tf.reduce_sum(upstream * op.function(*changed)).numpy()

            assert_close(gradient, checks.numerical_gradient(total, operands[index].numpy()), 1e-9, f"operand {index}")


@every_op
@pytest.mark.parametrize("event_ndims", [0, 1, 2, 3])
def test_value_and_gradients_are_those_of_the_plain_formula(op, event_ndims):
    operands = op.draw((2, 3, 4))
    with checks.uncompiled():
        value = op.function(*operands, event_ndims=event_ndims)
        assert value.shape == (2, 3, 4)[: 3 - event_ndims]
        upstream = weights_like(value)
        actual = value_and_gradients(
            lambda *operands: op.function(*operands, event_ndims=event_ndims), operands, upstream
        )
        expected = value_and_gradients(summed(op, event_ndims), operands, upstream)
    for ours, plain in zip(actual, expected, strict=True):
        assert_close(ours, plain, 1e-12)


def gradient_of_gradient(function, operands, upstream):
    """The gradient of a mix of first gradients, of a loss that is itself not linear in the value."""
    with tf.GradientTape() as outer:
        outer.watch(operands)
        with tf.GradientTape() as inner:
            inner.watch(operands)
            loss = tf.reduce_sum(upstream * tf.sin(function(*operands)))
        first = inner.gradient(loss, operands)
        mix = tf.add_n([(k + 1.0) * tf.reduce_sum(tf.sin(gradient)) for k, gradient in enumerate(first)])
    return outer.gradient(mix, operands)


@every_op
@pytest.mark.parametrize("mode", [pytest.param("eager", marks=pytest.mark.slow), "in an XLA program"])
def test_second_order_is_that_of_the_plain_formula(op, mode):
    operands = op.draw((2, 3))
    upstream = tf.constant([0.7, -1.3], tf.float64)
    actual = MODES[mode](lambda *operands: gradient_of_gradient(op.function, operands, upstream))(*operands)
    expected = gradient_of_gradient(summed(op, 1), operands, upstream)
    for ours, plain in zip(actual, expected, strict=True):
        assert_close(ours, plain, 1e-10)


@every_op
def test_second_order_is_that_of_finite_differences(op):
    operands, upstream = op.draw((2, 3)), tf.constant([0.7, -1.3], tf.float64)
    with checks.uncompiled():
        second = gradient_of_gradient(op.function, operands, upstream)
        for index, gradient in enumerate(second):

            def mixed(array, index=index):
                changed = [*operands[:index], tf.constant(array), *operands[index + 1 :]]
                _, *first = value_and_gradients(lambda *x: tf.sin(op.function(*x)), changed, upstream)
                return sum((k + 1.0) * np.sum(np.sin(gradient)) for k, gradient in enumerate(first))

            assert_close(gradient, checks.numerical_gradient(mixed, operands[index].numpy(), 2e-4), 1e-7, str(index))


@every_op
def test_second_order_of_broadcast_operands(op):
    shapes = [(2, 1, 4), (3, 1), (), (4,)][: len(op.samplers)]
    operands, upstream = op.draw(*shapes), tf.constant(1.3, tf.float64)
    with checks.uncompiled():
        actual = gradient_of_gradient(op.function, operands, upstream)
        expected = gradient_of_gradient(summed(op, 1), operands, upstream)
    for operand, ours, plain in zip(operands, actual, expected, strict=True):
        assert ours.shape == operand.shape
        assert_close(ours, plain, 1e-10)


@every_op
def test_third_order_is_that_of_the_plain_formula(op):
    def third(function, operands):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            second = gradient_of_gradient(function, operands, tf.constant(1.0, tf.float64))
            mix = tf.add_n([tf.reduce_sum(tf.sin(gradient)) for gradient in second])
        return tape.gradient(mix, operands)

    operands = op.draw((2, 3))
    with checks.uncompiled():
        actual, expected = third(op.function, operands), third(summed(op, 1), operands)
    for ours, plain in zip(actual, expected, strict=True):
        assert_close(ours, plain, 1e-9)


@every_op
def test_a_gradient_is_not_made_for_what_is_constant(op):
    first, *rest = op.draw((2, 3))
    _, gradient = value_and_gradients(lambda operand: op.function(operand, *rest), [first])
    _, expected, *_ = value_and_gradients(op.function, [first, *rest])
    assert_close(gradient, expected, 1e-12)


# Shapes.

FULL = (2, 3, 4)


def assert_broadcasts(op, operands, event_ndims=2):
    """Value and gradients are those of operands broadcast by hand, the gradients summed over the broadcast axes."""

    def function(*operands):
        return op.function(*operands, event_ndims=event_ndims)

    by_hand = [tf.broadcast_to(operand, np.broadcast_shapes(*(o.shape for o in operands))) for operand in operands]
    upstream = weights_like(function(*by_hand))
    actual = value_and_gradients(function, operands, upstream)
    expected = value_and_gradients(function, by_hand, upstream)
    assert_close(actual[0], expected[0], 1e-12, "value")
    for operand, ours, full in zip(operands, actual[1:], expected[1:], strict=True):
        padded = (1,) * (full.ndim - operand.ndim) + tuple(operand.shape)
        broadcast_axes = tuple(axis for axis, size in enumerate(padded) if size != full.shape[axis])
        sums = full.numpy().sum(axis=broadcast_axes, keepdims=True).reshape(operand.shape)
        assert_close(ours, sums, 1e-12, f"gradient of the operand of shape {operand.shape}")


@every_op
@pytest.mark.parametrize(
    "shape",
    [(), (4,), (1, 3, 1), *(pytest.param(s, marks=pytest.mark.slow) for s in ((1,), (3, 1), (2, 1, 4), (1, 1, 1)))],
    ids=str,
)
def test_any_operands_may_be_broadcast(op, shape):
    count = len(op.samplers)
    with checks.uncompiled():
        for broadcast in itertools.product([False, True], repeat=count):
            if not all(broadcast):
                assert_broadcasts(op, op.draw(*(shape if small else FULL for small in broadcast)))


@pytest.mark.slow
@every_op
def test_operands_of_four_ranks(op):
    with checks.uncompiled():
        for shapes in itertools.permutations([(2, 1, 1), (3, 1), (), (4,)], len(op.samplers)):
            result_ndims = len(np.broadcast_shapes(*shapes))
            assert_broadcasts(op, op.draw(*shapes), event_ndims=min(2, result_ndims))


@every_op
@pytest.mark.parametrize("mode", [pytest.param("in a graph", marks=pytest.mark.slow), "in an XLA program"])
def test_shapes_unknown_while_tracing(op, mode):
    def results(*operands):
        operands = list(operands)
        with tf.GradientTape() as tape:
            tape.watch(operands)
            value = op.function(*operands)
        return [value, *tape.gradient(value, operands)]

    count = len(op.samplers)
    traced = MODES[mode](results).get_concrete_function(*[tf.TensorSpec([None, None], tf.float64)] * count)
    assert traced.outputs[0].shape.as_list() == [None]
    for shapes in ([(2, 3)] * count, [(2, 1), (1, 3), (1, 1), (2, 3)][:count]):
        operands = op.draw(*shapes)
        with checks.uncompiled():
            expected = results(*operands)
        for ours, plain in zip(traced(*operands), expected, strict=True):
            assert_close(ours, plain, 1e-12)


@every_op
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)], ids=str)
def test_no_examples_and_empty_events(op, shape):
    first, *rest = op.draw(shape, *[(shape[1],)] * (len(op.samplers) - 1))
    with checks.uncompiled():
        value, *gradients = value_and_gradients(op.function, [first, *rest])
    assert_close(value, np.zeros(shape[0]), 0.0)
    for operand, gradient in zip([first, *rest], gradients, strict=True):
        assert_close(gradient, np.zeros(operand.shape), 0.0)


@every_op
@pytest.mark.parametrize("event_ndims", [-1, 3, True, 1.0, "1", None, (1,)], ids=repr)
def test_event_ndims_must_be_an_integer_up_to_the_rank(op, event_ndims):
    operands = op.draw((2, 3))
    message = r"Expected `event_ndims` to be an integer from 0 to the rank of the broadcast operands, 2; received: "
    with pytest.raises(ValueError, match=message + r"event_ndims=.* with shapes \[\(2, 3\), \(2, 3\)"):
        op.function(*operands, event_ndims=event_ndims)


@every_op
def test_event_ndims_defaults_to_one(op):
    operands = op.draw((2, 3))
    assert_close(op.function(*operands), op.function(*operands, event_ndims=1), 0.0)
    with pytest.raises(ValueError, match=r"from 0 to the rank of the broadcast operands, 0; received: event_ndims=1"):
        op.function(*op.draw(()))


# XLA.


@every_op
@pytest.mark.parametrize(
    ("mode", "dtype", "tolerance"),
    [
        ("eager", "float64", 1e-12),
        pytest.param("in a graph", "float64", 1e-12, marks=pytest.mark.slow),
        ("in an XLA program", "float64", 1e-12),
        ("in an XLA program", "float32", 2e-5),
    ],
)
def test_xla_is_the_same_as_eager(op, mode, dtype, tolerance):
    operands = op.draw((2, 3), dtype=dtype)
    upstream = tf.constant([0.7, -1.3], dtype)

    def results(*operands):
        return value_and_gradients(op.function, list(operands), upstream)

    with checks.uncompiled():
        expected = results(*operands)
    for compiled, plain in zip(MODES[mode](results)(*operands), expected, strict=True):
        assert compiled.dtype == dtype
        assert_close(compiled, plain, tolerance)


def xla_programs(concrete):
    """How many XLA programs a concrete function calls, and the types of all its other operations."""
    compiled = {
        function.signature.name
        for function in concrete.graph.as_graph_def().library.function
        if function.attr["_XlaMustCompile"].b
    }
    operations = concrete.graph.get_operations()
    calls = [op for op in operations if "Call" in op.type]
    assert all(call.get_attr("f").name in compiled for call in calls), "a call that is not compiled"
    return len(calls), {op.type for op in operations if op not in calls}


PLUMBING = {"Placeholder", "Const", "Identity", "IdentityN", "Shape", "Fill", "ZerosLike"}


@every_op
@pytest.mark.parametrize("shape", [(4, 5), (None, None)], ids=str)
def test_one_xla_program_forward_and_one_backward(op, shape):
    specs = [tf.TensorSpec(shape)] * len(op.samplers)
    forward = tf.function(lambda *operands: op.function(*operands), autograph=False).get_concrete_function(*specs)
    calls, others = xla_programs(forward)
    assert calls == 1
    assert others <= PLUMBING

    both = tf.function(lambda *operands: value_and_gradients(op.function, list(operands)), autograph=False)
    calls, others = xla_programs(both.get_concrete_function(*specs))
    assert calls == 2
    assert others <= PLUMBING


# Dtypes.


@every_op
@pytest.mark.parametrize("half", [pytest.param("float16", marks=pytest.mark.slow), "bfloat16"])
def test_half_precision_operands_compute_in_float32(op, half):
    operands = [tf.cast(operand, half) for operand in op.draw((2, 3))]
    wide = [tf.cast(operand, "float32") for operand in operands]
    value, *gradients = value_and_gradients(op.function, operands)
    expected, *expected_gradients = value_and_gradients(op.function, wide)
    assert value.dtype == "float32"
    np.testing.assert_array_equal(value, expected)
    for gradient, plain in zip(gradients, expected_gradients, strict=True):
        assert gradient.dtype == half
        np.testing.assert_array_equal(tf.cast(gradient, "float32"), tf.cast(tf.cast(plain, half), "float32"))


@every_op
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_policy_changes_nothing(op, half):
    operands = [operand.numpy().tolist() for operand in op.draw((2, 3))]
    expected = op.function(*operands)
    for policy in (half, f"mixed_{half}"):
        with checks.dtype_policy(policy):
            value = op.function(*operands)
        assert value.dtype == "float32"
        np.testing.assert_array_equal(value, expected)


@every_op
def test_one_float64_operand_makes_it_float64(op):
    operands = op.draw((2, 3), dtype="float32")
    for index in range(len(operands)):
        mixed = [tf.cast(operand, "float64") if k == index else operand for k, operand in enumerate(operands)]
        with checks.uncompiled():
            value, *gradients = value_and_gradients(op.function, mixed)
        assert value.dtype == "float64"
        assert [gradient.dtype for gradient in gradients] == [operand.dtype for operand in mixed]


@every_op
def test_python_numbers_are_not_rounded_beside_float64(op):
    """0.1 beside a float64 tensor is 0.1, not the float32 next to it."""
    first, *rest = op.draw((2, 3))
    with checks.uncompiled():
        actual = op.function(first, *[0.1] * len(rest))
        expected = op.function(first, *[tf.constant(0.1, tf.float64)] * len(rest))
    assert_close(actual, expected, 1e-14)


@pytest.mark.parametrize(
    "dtype", ["uint8", "bool", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("int8", "int32", "int64"))]
)
@pytest.mark.parametrize("op", [op for op in OPS if op.function is not gaussian_kl], ids=str)
def test_integer_and_boolean_data(op, dtype):
    """0 and 1 score the same in every dtype, as tensor, array or list; parameters have their gradient all the same."""
    bits = np.array([[0, 1, 1], [1, 0, 1]])
    parameters = op.draw((2, 3), dtype="float32")[1:]

    def results(x):
        return value_and_gradients(lambda *parameters: op.function(x, *parameters), parameters)

    expected = results(tf.constant(bits, tf.float32))
    for x in (tf.constant(bits, dtype), bits.astype(dtype), bits.astype(dtype).tolist()):
        for ours, plain in zip(results(x), expected, strict=True):
            assert ours.dtype == "float32"
            # Of what is constant XLA computes some beforehand: where many terms follow, it rounds otherwise.
            np.testing.assert_allclose(ours, plain, rtol=1e-6 if op.function is negative_binomial_nll else 0)


# Numbers that are not ordinary.


@every_op
def test_an_example_that_is_not_finite_leaves_the_others_alone(op):
    operands = op.draw((2, 3), dtype="float32")
    expected = value_and_gradients(op.function, operands)
    for index, bad in itertools.product(range(len(operands)), [np.nan, np.inf, -np.inf]):
        spoilt = operands[index].numpy()
        spoilt[1, 2] = bad
        changed = [*operands[:index], tf.constant(spoilt), *operands[index + 1 :]]
        actual = value_and_gradients(op.function, changed)
        assert not np.isfinite(actual[0][1]), f"operand {index}, {bad}: {actual[0][1]}"
        for ours, plain in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(ours.numpy()[0], plain.numpy()[0])


@every_op
def test_a_zero_upstream_gradient_gives_a_zero_gradient(op):
    """A masked example counts nothing, however absurd its numbers: not 0 times infinity, which is NaN."""
    signs = [np.sign(operand) for operand in op.draw((2, 3))]
    largest = [80.0 if sampler is log_variance else np.finfo("float32").max for sampler in op.samplers]
    for flips in itertools.product([1, -1], repeat=len(signs)):
        operands = [
            tf.constant(s * flip * peak, tf.float32) for s, flip, peak in zip(signs, flips, largest, strict=True)
        ]
        _, *gradients = value_and_gradients(op.function, operands, tf.zeros(2))
        for gradient in gradients:
            np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


@every_op
def test_a_sum_of_the_largest_numbers_is_the_largest_number(op):
    """Summands that are finite have a finite sum: here 1e4 of them, each at the top of float32."""
    peak = np.float32(np.finfo("float32").max)
    extremes = {location: peak, log_variance: np.float32(-80.0), grey: np.float32(0.0)}
    extremes |= {inner_level: np.float32(128.0), grey_location: peak, several: np.float32(2.0)}
    operands = [tf.fill((1, 10_000), extremes[sampler]) for sampler in op.samplers]
    if op.function not in (bernoulli_nll, continuous_bernoulli_nll):
        operands[2 if op.function is gaussian_kl else 1] = tf.fill((1, 10_000), -peak)
    value = op.function(*operands)
    np.testing.assert_array_equal(value, [peak])
