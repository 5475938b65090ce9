"""The Beta distribution with independent elements: proportions strictly between 0 and 1."""

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.links import NEAREST, inverse_softplus

# The smallest concentration, approached smoothly: both at it, half of all draws are within 1e-6 of an end.
FLOOR = 5e-2

# The largest that data make it start at: a standard deviation below a thousandth.
LARGEST = 1e6


class IndependentBetaDistribution(IndependentDistribution):
    """Independent Beta variables.

    Args:
        concentration1: alpha, positive, `[..., *event]`.
        concentration0: beta, positive, broadcastable with `concentration1`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("concentration1", "concentration0")
    support = Support(
        "IndependentBeta",
        "0 < x < 1, both ends excluded",
        low=0.0,
        high=1.0,
        is_open=True,
        advice="The density at 0 and 1 is 0 or infinite. Squeeze x a little, (x * (N - 1) + 0.5) / N for N examples, "
        "or use IndependentContinuousBernoulli, which scores the ends.",
    )

    def __init__(self, concentration1, concentration0, event_ndims, name="IndependentBeta"):
        parameters = {"concentration1": concentration1, "concentration0": concentration0}
        super().__init__(tfd.Beta(concentration1, concentration0), event_ndims, name, **parameters)

    def _sample_n(self, n, seed=None):
        # Rounded, a draw may be an end, which is outside.
        precision = 2.0**-24 if self.dtype == "float32" else 2.0**-53
        return ops.clip(super()._sample_n(n, seed), precision, 1.0 - precision)


@keras.saving.register_keras_serializable("keras_vae")
class IndependentBeta(DistributionLayer):
    """A Beta distribution for each element: proportions, rates and probabilities, strictly between 0 and 1.

        log p(x) = sum_i [ (a_i - 1) log x_i + (b_i - 1) log(1 - x_i) - log B(a_i, b_i) ],    B the beta function

    The mean is a / (a + b). The larger a + b is, the narrower is the distribution. (Ferrari & Cribari-Neto, "Beta
    regression for modelling rates and proportions", 2004.) Data with zeros and ones is refused, with the advice to
    squeeze it as Smithson & Verkuilen do, 2006. The concentrations a and b are softplus(features) + 0.05.

        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentBeta(13)])

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as the concentrations before the softplus: all a, then all b. See
            `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers.
    """

    parameters_per_element = 2

    def marginal(self, moments):
        # By moments: m = a / (a + b), and the variance is m (1 - m) / (a + b + 1).
        mean = np.clip(moments.mean, 1e-6, 1.0 - 1e-6)
        total = mean * (1.0 - mean) / np.maximum(moments.variance, 1e-12) - 1.0
        total = np.where(moments.variance > 0.0, total, 2.0)  # what never varies has no spread to go by
        concentrations = (total * mean, total * (1.0 - mean))
        return [inverse_softplus(np.clip(each - FLOOR, NEAREST, LARGEST)) for each in concentrations]

    def distribution(self, *raw):
        return IndependentBetaDistribution(
            *(ops.softplus(each) + FLOOR for each in raw), event_ndims=len(self.event_shape)
        )
