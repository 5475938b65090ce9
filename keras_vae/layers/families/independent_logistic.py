"""The logistic distribution with independent coordinates, a likelihood of real-valued data."""

import math

import keras
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.location_scale import LocationScaleLayer, fixed_point
from keras_vae.ops import logistic_nll


class IndependentLogisticDistribution(IndependentDistribution):
    """Independent logistic variables, whose `log_prob` is the fused op.

    Args:
        loc: mu, `[..., *event]`.
        log_scale: log s, broadcastable with `loc`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("loc", "log_scale")
    support = Support("IndependentLogistic", "real numbers")

    def __init__(self, loc, log_scale, event_ndims, name="IndependentLogisticDistribution"):
        super().__init__(tfd.Logistic(loc, ops.exp(log_scale)), event_ndims, name, loc=loc, log_scale=log_scale)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -logistic_nll(x, self.loc, self.log_scale, event_ndims=event_ndims)

    # TFP's broadcast their parameters by an operation that ONNX lacks.

    def _mean(self):
        return self.loc

    def _stddev(self):
        return math.pi / math.sqrt(3.0) * ops.exp(self.log_scale) + ops.zeros_like(self.loc)

    def best_log_scale(self, x, mean):
        """The log s at which x is likeliest: s = mean |x - mu| tanh(|x - mu| / 2s). `mean` averages what shares s."""
        distance = ops.abs(x - self.loc)
        return fixed_point(lambda scale: mean(distance * ops.tanh(0.5 * distance / scale)), mean(distance))


@keras.saving.register_keras_serializable("keras_vae")
class IndependentLogistic(LocationScaleLayer):
    """A logistic distribution with independent coordinates: real-valued data, between squared and absolute error.

        log p(x) = -sum_i [ t_i + log s_i + 2 log(1 + exp(-t_i)) ],    t_i = (x_i - mu_i) / s_i

    It is bell-shaped, with the exponential tails of a Laplace distribution and no kink. Its cdf is the sigmoid. That is
    why images are often given a discretised one: see `DiscretizedLogistic`. The `scale`'s sigma is s. The standard
    deviation is pi s / sqrt(3). See `LocationScaleLayer` for the arguments.

        likelihood = keras_vae.layers.IndependentLogistic(13, scale=keras_vae.scales.Shared())
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: as `LocationScaleLayer`.
    """

    family = IndependentLogisticDistribution

    def sigma_of(self, moments):
        return moments.stddev * math.sqrt(3.0) / math.pi, moments.count
