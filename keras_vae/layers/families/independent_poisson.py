"""The Poisson distribution with independent elements, the likelihood of counts."""

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.links import rate
from keras_vae.ops import poisson_nll

COUNTS = "counts: whole numbers from 0 on"

# e^30 = 1e13 events: far beyond data, and well within float32.
LARGEST_LOG_RATE = 30.0


class IndependentPoissonDistribution(IndependentDistribution):
    """Independent Poisson variables, whose `log_prob` is the fused op.

    Args:
        log_rate: log of the mean, `[..., *event]`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("log_rate",)
    support = Support("IndependentPoisson", COUNTS, low=0.0, is_integer=True)

    def __init__(self, log_rate, event_ndims, name="IndependentPoissonDistribution"):
        super().__init__(tfd.Poisson(log_rate=log_rate), event_ndims, name, log_rate=log_rate)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -poisson_nll(x, self.log_rate, event_ndims=event_ndims)


@keras.saving.register_keras_serializable("keras_vae")
class IndependentPoisson(DistributionLayer):
    """A Poisson distribution for each element: counts of events that do not influence each other.

        log p(x) = sum_i [ x_i log r_i - r_i - log x_i! ]

    The log of the mean, log r, is linear in the features, up to 30. The variance equals the mean. Most counts scatter
    more than that: for them, use `IndependentNegativeBinomial`.

        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentPoisson(13)])
        decoder(np.zeros((64, 4))).log_prob(counts)  # [64], nats

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as log r. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers.
    """

    def marginal(self, moments):
        return [np.log(rate(moments))]

    def distribution(self, log_rate):
        return IndependentPoissonDistribution(
            ops.minimum(log_rate, LARGEST_LOG_RATE), event_ndims=len(self.event_shape)
        )
