"""The discretised logistic distribution with independent elements, which scores 8-bit images level by level."""

import math

import keras
import numpy as np
from keras import ops

from keras_vae import scales
from keras_vae.backend import tfd
from keras_vae.checks import check_integer
from keras_vae.data.support import levels_from_zero
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.location_scale import LocationScaleLayer, root
from keras_vae.ops import discretized_logistic_nll
from keras_vae.ops.discretized_logistic import slope_of_log_scale

# Levels of an expectation that are in memory at a time.
LEVELS_AT_ONCE = 16


class DiscretizedLogisticDistribution(IndependentDistribution):
    """Independent logistic variables, each rounded to the nearest of `levels` levels that run from 0 to 1.

    An x holds the numbers of its levels, 0, ..., levels - 1. `log_prob` is the fused op.

    Args:
        loc: mu, where the levels run from 0 to 1, `[..., *event]`.
        log_scale: log s, broadcastable with `loc`.
        levels: how many there are.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("loc", "log_scale")

    def __init__(self, loc, log_scale, levels, event_ndims, name="DiscretizedLogisticDistribution"):
        # TFP rounds up: less half a level, that is to the nearest.
        logistic = tfd.Logistic(loc * (levels - 1) - 0.5, ops.exp(log_scale) * (levels - 1))
        elements = tfd.QuantizedDistribution(logistic, low=0.0, high=levels - 1.0)
        super().__init__(elements, event_ndims, name, loc=loc, log_scale=log_scale, levels=levels)

    @property
    def support(self):
        """The `Support`, the values that are scored: whole numbers 0, ..., levels - 1."""
        return levels_from_zero("DiscretizedLogistic", self.levels)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -discretized_logistic_nll(x, self.loc, self.log_scale, self.levels, event_ndims=event_ndims)

    def best_log_scale(self, x, mean):
        """The log s at which x is likeliest: there the mean slope is 0. `mean` averages what shares s."""

        def slope(log_scale):
            return mean(slope_of_log_scale(x, self.loc, log_scale, self.levels))

        some = ops.zeros_like(mean(x))
        # Beyond s = 2 all levels are alike, and where the lowest and the highest are all of x, the best s is infinite.
        return root(slope, some - 12.0, some + math.log(2.0))

    def _mean(self):
        return mean_and_variance(self.loc, self.log_scale, self.levels)[0]

    def _variance(self):
        return mean_and_variance(self.loc, self.log_scale, self.levels)[1]

    def _stddev(self):
        return ops.sqrt(self._variance())


def mean_and_variance(loc, log_scale, levels):
    """The exact mean and variance of the level x that a logistic variable is rounded to.

    They are summed about m, the level next to mu,

        E[x - m]     = sum_{k >= m} P(x > k) - sum_{k < m} P(x <= k),
        E[(x - m)^2] = sum_{k >= m} (2 (k - m) + 1) P(x > k) + sum_{k < m} (2 (m - k) - 1) P(x <= k),

    with k from 0 to levels - 2. No term of the second sum is negative.
    """
    middle = ops.clip(ops.round(loc * (levels - 1)), 0.0, levels - 1.0)[..., None]
    shape = ops.shape(loc + log_scale)
    zero = ops.zeros(shape, loc.dtype)

    def add(chunk, sums):
        first, square = sums
        k = ops.cast(chunk * LEVELS_AT_ONCE + ops.arange(LEVELS_AT_ONCE), loc.dtype)
        t = (loc[..., None] - (k + 0.5) / (levels - 1)) * ops.exp(-log_scale)[..., None]
        is_above = k >= middle
        beyond = ops.where(k < levels - 1, ops.sigmoid(ops.where(is_above, t, -t)), 0.0)
        distance = ops.abs(2.0 * (k - middle) + 1.0)
        return (
            first + ops.sum(ops.where(is_above, beyond, -beyond), axis=-1),
            square + ops.sum(distance * beyond, axis=-1),
        )

    first, square = ops.fori_loop(0, -(-(levels - 1) // LEVELS_AT_ONCE), add, (zero, zero))
    return middle[..., 0] + first, square - ops.square(first)


def spread_of_levels(variance, levels):
    """The s, where the levels run from 0 to 1, at which levels have nearly this variance.

    Rounding adds 1/12 to a logistic's variance, pi^2 s^2 / 3. What never varies is told to a fraction of a level.
    """
    return np.sqrt(3.0 * np.maximum(variance - 1.0 / 12.0, 1.0 / 16.0)) / (math.pi * (levels - 1))


def default_floor(levels):
    """The smallest s by default, a tenth of a level. With it, the level at mu has all but 1% of the probability."""
    return 0.1 / (levels - 1)


@keras.saving.register_keras_serializable("keras_vae")
class DiscretizedLogistic(LocationScaleLayer):
    """A logistic distribution rounded to levels, with independent elements: the likelihood of 8-bit images.

        p(x) = prod_i [ F(b_i) - F(a_i) ],    F(v) = 1 / (1 + exp(-(v - mu_i) / s_i)),
        a_i, b_i = (x_i -+ 1/2) / (levels - 1)

    x is whole numbers 0, ..., levels - 1, as image files hold them. The location mu and the scale s are in units in
    which these levels run from 0 to 1, and s is the `scale`'s sigma. What lies beyond the ends falls to the lowest and
    the highest level. So p(x) is a probability, never above 1, and log p is in nats. The bits per dimension are
    -log p / (D log 2), with no correction. (Kingma et al., "Improving variational inference with inverse autoregressive
    flow", arXiv 1606.04934, appendix; and "PixelCNN++", arXiv 1701.05517.)

    Let the encoder start with `keras.layers.Rescaling(1 / 255)`.

        encoder = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), keras_vae.layers.IndependentNormal(8)])
        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.DiscretizedLogistic((8, 8, 1))])
        vae = keras_vae.VAE(encoder, decoder)  # of x in 0, 1, ..., 255

    Args:
        event_shape, activation, projection: as of `LocationScaleLayer`.
        levels: how many there are, an integer >= 2.
        scale: as of `LocationScaleLayer`; the default, `PerElement`, has a floor of a tenth of a level here.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`, whose draws and
        mean are levels.

    Raises:
        ValueError: `levels` is not an integer >= 2; or as `LocationScaleLayer`.
    """

    family = DiscretizedLogisticDistribution

    def __init__(self, event_shape, levels=256, scale=None, activation=None, projection=True, **kwargs):
        levels = check_integer("DiscretizedLogistic", "levels", levels, least=2)
        scale = scales.PerElement(floor=default_floor(levels), dtype=kwargs.get("dtype")) if scale is None else scale
        super().__init__(event_shape, scale=scale, activation=activation, projection=projection, **kwargs)
        self.levels = levels

    def sigma_of(self, moments):
        return spread_of_levels(moments.variance, self.levels), moments.count

    def location_of(self, moments, sigma):
        return [moments.mean / (self.levels - 1)]

    def with_scale(self, location, log_scale):
        return self.family(location, log_scale, self.levels, event_ndims=len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
