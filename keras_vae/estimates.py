"""What stands for a distribution where one point has to: in pictures, in `predict` and `reconstruct`, in exports."""

import contextlib

import keras
from keras import ops

from keras_vae import backend
from keras_vae.backend import tfp

DRAWS = 256  # whose mean stands for what nobody knows in closed form


def centre(distribution):
    """A point in the middle of a distribution, `[*batch, *event]`: its mean, where that is known.

    Else it is the mode. Where that is not known either, and a bijector f made the distribution of another one, it is
    f(centre of that one). Last of all it is the mean of 256 draws, by the same seed each time. A mean that does not
    exist, as a Cauchy distribution's, is TFP's NaN.

    Args:
        distribution: a `tfd.Distribution`.
    """
    for statistic in ("mean", "mode"):
        with contextlib.suppress(NotImplementedError):
            return getattr(distribution, statistic)()
    # By what they have: TFP's `Independent(...)` and `TransformedDistribution(...)` are of several classes.
    if hasattr(distribution, "reinterpreted_batch_ndims"):
        return centre(distribution.distribution)
    if isinstance(getattr(distribution, "bijector", None), tfp.bijectors.Bijector):
        return distribution.bijector.forward(_centre_of_base(distribution))
    draws = distribution.sample(DRAWS, seed=backend.stateless_seed(0))
    return keras.tree.map_structure(lambda part: ops.mean(part, axis=0), draws)


def _centre_of_base(distribution):
    """The centre of what a bijector is applied to, for each of the batch: a base may have less of a batch, or none."""
    base = distribution.distribution
    middle = centre(base)
    if len(middle.shape) < len(distribution.batch_shape) + len(base.event_shape):
        shape = ops.concatenate([distribution.batch_shape_tensor(), base.event_shape_tensor()], axis=0)
        middle = ops.broadcast_to(middle, shape)
    return middle


def point_estimate(distribution, average=None):
    """What a distribution predicts, `[*batch, *event]`: its mean; of categories without an order the likeliest.

    A distribution whose mean is of no use says what is, by a method `point_estimate(average=None)`.

    Args:
        distribution: a `tfd.Distribution`, p(x|z).
        average: a function that averages over some axes of the batch, for one estimate of several draws of z. It is
            applied to the means; of categories, whose codes have no mean, to the probabilities.
    """
    own = getattr(distribution, "point_estimate", None)
    if own is not None:
        return own(average)
    middle = centre(distribution)
    return middle if average is None else keras.tree.map_structure(average, middle)


def probabilities_of(distribution):
    """The probability of each category, `[*batch, *event, levels]`; None for what is no distribution of categories.

    For several parts it is a dictionary, of those that are of categories.
    """
    try:
        return distribution.probabilities()
    except AttributeError:
        return None
