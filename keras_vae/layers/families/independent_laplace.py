"""The Laplace distribution with independent coordinates, whose log-likelihood is the absolute error."""

import math

import keras
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.location_scale import LocationScaleLayer


class IndependentLaplaceDistribution(IndependentDistribution):
    """Independent Laplace variables.

    Args:
        loc: mu, `[..., *event]`.
        log_scale: log b, broadcastable with `loc`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("loc", "log_scale")
    support = Support("IndependentLaplace", "real numbers")

    def __init__(self, loc, log_scale, event_ndims, name="Laplace"):
        super().__init__(tfd.Laplace(loc, ops.exp(log_scale)), event_ndims, name, loc=loc, log_scale=log_scale)

    # TFP's broadcast their parameters by an operation that ONNX lacks.

    def _mean(self):
        return self.loc

    def _stddev(self):
        return math.sqrt(2.0) * ops.exp(self.log_scale) + ops.zeros_like(self.loc)

    def best_log_scale(self, x, mean):
        """The log b at which x is likeliest: b = mean |x - mu|. `mean` averages what shares b."""
        return ops.log(mean(ops.abs(x - self.loc)))


@keras.saving.register_keras_serializable("keras_vae")
class IndependentLaplace(LocationScaleLayer):
    """A Laplace distribution with independent coordinates: absolute error, in nats.

        log p(x) = -sum_i [ log(2 b_i) + |x_i - mu_i| / b_i ]

    It is the likelihood of real-valued data with heavier tails than a Gaussian's. With a fixed b, maximising it
    minimises the mean absolute error. The location mu is the median of x given z, as a Gaussian's is its mean. The
    `scale`'s sigma is b, the mean absolute deviation. The standard deviation is sqrt(2) b. See `LocationScaleLayer` for
    the arguments.

        likelihood = keras_vae.layers.IndependentLaplace(13, scale=keras_vae.scales.Shared())
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: as `LocationScaleLayer`.
    """

    family = IndependentLaplaceDistribution

    def sigma_of(self, moments):
        return moments.stddev / math.sqrt(2.0), moments.count
