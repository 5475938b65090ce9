"""Damped least squares by orthogonal columns: what a Gaussian with a few common factors takes for its density."""

from keras import ops


def orthogonal(columns):
    """Orthonormal columns that span those of M = [A; I], A's columns over those of I, and log det(I + A'A) / 2.

    Modified Gram-Schmidt: each column is divided by its length r_k, and what lies along it is taken from those after
    it. The lengths are the diagonal of R in M = Q R, so that det(I + A'A) = det(M'M) = (r_1 ... r_R)^2. In float32 A'A
    may be 1e15 and have lost the I next to it. Here no such number is formed. Column k keeps its own 1 under A, for
    those before have a 0 there; so r_k >= 1.

    Args:
        columns: A's columns as rows, `[..., R, D]`, R known while tracing.

    Returns:
        A list of R unit vectors, `[..., D + R]`; and half the log-determinant, `[...]`.
    """
    rank = columns.shape[-2]
    identity = ops.broadcast_to(ops.eye(rank, dtype=columns.dtype), (*ops.shape(columns)[:-1], rank))
    columns = ops.concatenate([columns, identity], axis=-1)
    directions, log_lengths = [], 0.0
    for _ in range(rank):
        length = ops.sqrt(ops.sum(ops.square(columns[..., 0, :]), axis=-1))
        direction = columns[..., 0, :] / length[..., None]
        columns = without(direction[..., None, :], columns[..., 1:, :])
        directions.append(direction)
        log_lengths += ops.log(length)
    return directions, log_lengths


def residual(directions, u):
    """What A w = u leaves, [u - A w; -w], `[..., D + R]`, at the w that makes its square, |u - A w|^2 + |w|^2, least.

    By Woodbury's identity the square is u' (I + A A')^-1 u; as the square of what is left, nothing in it cancels.
    (Bjorck, "Solving linear least squares problems by Gram-Schmidt orthogonalization", BIT 7, 1967.)

    Args:
        directions: as `orthogonal` gives them.
        u: `[..., D]`; batch shapes broadcast.
    """
    left = ops.concatenate([u, ops.zeros((*ops.shape(u)[:-1], len(directions)), u.dtype)], axis=-1)
    for direction in directions:
        left = without(direction, left)
    return left


def without(direction, vector):
    """What is left of a vector when its part along a unit vector is taken away."""
    return vector - ops.sum(direction * vector, axis=-1, keepdims=True) * direction
