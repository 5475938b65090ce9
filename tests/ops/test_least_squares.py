"""Orthogonal columns against the normal equations in float64, and against NumPy's least squares where those break."""

import numpy as np
import pytest
import tensorflow as tf
from checks import assert_close

from keras_vae.ops.least_squares import orthogonal, residual

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("size", "rank"), [(7, 3), (2, 3), (1, 1)])
def test_it_is_woodburys_identity_and_the_determinant_lemma(size, rank):
    factors, u = RNG.normal(size=(4, size, rank)), RNG.normal(size=(5, 4, size))
    directions, half_log_det = orthogonal(tf.constant(factors.swapaxes(-1, -2)))
    capacitance = np.eye(rank) + factors.swapaxes(-1, -2) @ factors
    assert_close(half_log_det, 0.5 * np.linalg.slogdet(capacitance)[1], 1e-12)
    whole = np.linalg.inv(np.eye(size) + factors @ factors.swapaxes(-1, -2))
    squares = tf.reduce_sum(tf.square(residual(directions, tf.constant(u))), -1)
    assert_close(squares, np.einsum("sbi,bij,sbj->sb", u, whole, u), 1e-12)
    directions = np.stack(directions, axis=-1)
    assert_close(directions.swapaxes(-1, -2) @ directions, np.broadcast_to(np.eye(rank), (4, rank, rank)), 1e-12)


@pytest.mark.parametrize("width", [1e2, 1e4, 1e6])
def test_float32_columns_that_are_large_and_nearly_parallel(width):
    """I + A'A has a condition of 1e6 and more, beyond what float32 inverts; what is left is that of least squares in
    float64, as far as u's own rounding goes.
    """
    direction = RNG.normal(size=(20, 1))
    factors = (width * (direction + 1e-3 * RNG.normal(size=(20, 3)))).astype("float32")
    u = (factors @ np.ones(3, "float32") + RNG.normal(size=20)).astype("float32")
    directions, half_log_det = orthogonal(tf.constant(factors.T))
    left = residual(directions, tf.constant(u))
    augmented, target = np.vstack([factors, np.eye(3)]).astype("float64"), np.append(u, [0.0] * 3).astype("float64")
    solution = np.linalg.lstsq(augmented, target)[0]
    exact = target - augmented @ solution
    rounding = 4 * np.finfo("float32").eps * np.linalg.norm(u)
    assert abs(np.linalg.norm(left) - np.linalg.norm(exact)) < rounding + 1e-3 * np.linalg.norm(exact)
    np.testing.assert_allclose(half_log_det, np.sum(np.log(np.linalg.svd(augmented)[1])), rtol=1e-3)


@pytest.mark.parametrize("width", [1e2, 1e10])
def test_columns_that_are_the_same_leave_the_identity(width):
    """Singular but for I: the second length is at least that of its own 1, and at most what rounding A makes it."""
    columns = tf.constant(width * RNG.normal(size=6) * np.ones((2, 1)), tf.float32)
    _, half_log_det = orthogonal(columns)
    first = np.log(np.linalg.norm(columns[0].numpy().astype("float64")))
    assert first - 1e-4 <= half_log_det <= first + np.log(2.0 + 1e-6 * width)
