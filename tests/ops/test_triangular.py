"""Substitution in bounds: against the backend's own, to second order; and where that overflows."""

import checks
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from checks import assert_close, value_and_gradients

from keras_vae.ops.triangular import bound, solve_lower, solve_reference

either_way = pytest.mark.parametrize("transpose", [False, True], ids=["lower", "transposed"])


def system(batch=(2,), size=4, rhs_batch=None, seed=0):
    """A well-conditioned L, with numbers above its diagonal that are not to be looked at, and b; float64."""
    rng = np.random.default_rng(seed)
    lower = rng.normal(size=(*batch, size, size))
    lower[..., range(size), range(size)] = rng.uniform(0.5, 2.0, (*batch, size))
    return tf.constant(lower), tf.constant(rng.normal(size=(*(batch if rhs_batch is None else rhs_batch), size)))


@either_way
def test_it_solves_the_system(transpose):
    lower, rhs = system()
    with checks.uncompiled():
        solution = solve_lower(lower, rhs, transpose)
    for matrix, b, y in zip(lower.numpy(), rhs.numpy(), solution.numpy(), strict=True):
        assert_close(y, scipy.linalg.solve_triangular(matrix, b, trans=int(transpose), lower=True), 1e-12)


@either_way
def test_gradient_is_that_of_finite_differences(transpose):
    operands, upstream = system(), np.random.default_rng(1).normal(size=(2, 4))
    with checks.uncompiled():
        _, *gradients = value_and_gradients(
            lambda *operands: solve_lower(*operands, transpose), operands, tf.constant(upstream)
        )
        for index, gradient in enumerate(gradients):

            def total(array, index=index):
                changed = [*operands[:index], tf.constant(array), *operands[index + 1 :]]
                return np.sum(upstream * solve_lower(*changed, transpose))

            assert_close(gradient, checks.numerical_gradient(total, operands[index].numpy()), 1e-9, f"operand {index}")


def results_to_second_order(solve, operands, transpose):
    """The value, its gradients, and the gradients of a mix of those."""
    operands = list(operands)
    with tf.GradientTape() as outer:
        outer.watch(operands)
        value, *first = value_and_gradients(lambda *operands: tf.sin(solve(*operands, transpose)), operands)
        mix = tf.add_n([(k + 1.0) * tf.reduce_sum(tf.sin(gradient)) for k, gradient in enumerate(first)])
    return [value, *first, *outer.gradient(mix, operands)]


@either_way
@pytest.mark.parametrize("mode", ["eager", "in an XLA program", "plain"])
def test_it_is_the_backends_to_second_order(transpose, mode):
    operands = system()
    expected = results_to_second_order(solve_reference, operands, transpose)

    def results(*operands):
        return results_to_second_order(solve_lower, operands, transpose)

    if mode == "plain":
        with checks.uncompiled():
            actual = results(*operands)
    else:
        in_xla = mode == "in an XLA program"
        actual = (tf.function(results, jit_compile=True, autograph=False) if in_xla else results)(*operands)
    for ours, theirs in zip(actual, expected, strict=True):
        assert_close(ours, theirs, 1e-10)


@pytest.mark.parametrize(
    ("batch", "rhs_batch"), [((), (3, 2)), ((2,), (3, 2)), ((3, 2), ()), ((2, 1), (1, 3))], ids=str
)
def test_batches_broadcast(batch, rhs_batch):
    operands = system(batch, rhs_batch=rhs_batch)
    shape = np.broadcast_shapes(batch, rhs_batch)
    by_hand = [tf.broadcast_to(each, (*shape, *each.shape[-k:])) for each, k in zip(operands, (2, 1), strict=True)]
    with checks.uncompiled():
        value, *gradients = value_and_gradients(solve_lower, operands)
        expected, *full = value_and_gradients(solve_lower, by_hand)
    assert_close(value, expected, 1e-12)
    for gradient, each, event_ndims in zip(gradients, full, (2, 1), strict=True):
        operand_batch = gradient.shape[: gradient.ndim - event_ndims]
        padded = (1,) * (len(shape) - len(operand_batch)) + tuple(operand_batch)
        axes = tuple(k for k, size in enumerate(padded) if size != shape[k])
        assert_close(gradient, each.numpy().sum(axis=axes, keepdims=True).reshape(gradient.shape), 1e-12)


def test_batch_size_unknown_while_tracing():
    traced = tf.function(
        lambda *operands: value_and_gradients(solve_lower, operands),
        jit_compile=True,
        autograph=False,
        input_signature=[tf.TensorSpec((None, 4, 4), tf.float64), tf.TensorSpec((None, None, 4), tf.float64)],
    )
    for batch in (2, 3):
        operands = system((batch,), rhs_batch=(5, batch))
        with checks.uncompiled():
            expected = value_and_gradients(solve_lower, operands)
        for ours, plain in zip(traced(*operands), expected, strict=True):
            assert_close(ours, plain, 1e-12)


# Where substitution overflows.


@either_way
@pytest.mark.parametrize("entry", [1e4, -1e4, 1e30])
def test_what_is_too_large_is_held_at_the_bound(transpose, entry):
    """Each element is 1e7 times the one before: the backend's solution is NaN from the seventh on."""
    size = 20
    lower = np.full((1, size, size), entry, "float32")
    lower[0, range(size), range(size)] = 1e-3
    operands = [tf.constant(lower), tf.ones((1, size))]
    value, *gradients = value_and_gradients(lambda *operands: solve_lower(*operands, transpose), operands)
    checks.assert_finite([value, *gradients], "value or gradient")
    assert float(tf.reduce_max(tf.abs(value))) == bound("float32") == 2.0**60
    assert not np.isfinite(solve_reference(*operands, transpose)).all()


def test_a_zero_upstream_gradient_gives_a_zero_gradient():
    lower = tf.where(tf.eye(5, dtype=bool), 1e-3, tf.fill((5, 5), 1e20))
    _, *gradients = value_and_gradients(solve_lower, [lower, tf.fill(5, 3e38)], tf.zeros(5))
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, tf.zeros_like(gradient))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_example_that_is_not_finite_is_nan_and_leaves_the_others_alone(bad):
    operands = system((3,))
    with checks.uncompiled():
        expected = solve_lower(*operands).numpy()
        for index in range(2):
            spoilt = operands[index].numpy()
            spoilt[(1, 2, 1)[: spoilt.ndim]] = bad
            received = solve_lower(*[tf.constant(spoilt) if k == index else operands[k] for k in range(2)]).numpy()
            assert np.isnan(received[1]).any()
            np.testing.assert_array_equal(received[[0, 2]], expected[[0, 2]])
