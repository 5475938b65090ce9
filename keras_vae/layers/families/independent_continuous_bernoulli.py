"""The continuous Bernoulli with independent elements, the likelihood of grey levels between 0 and 1."""

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.links import NEAREST
from keras_vae.layers.location_scale import root
from keras_vae.ops import continuous_bernoulli_nll
from keras_vae.ops.continuous_bernoulli import mean_of, variance_of


class IndependentContinuousBernoulliDistribution(IndependentDistribution):
    """Independent continuous Bernoulli variables, whose `log_prob` is the fused op.

    Args:
        logits: l, `[..., *event]`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("logits",)
    support = Support("IndependentContinuousBernoulli", "x in [0, 1]", low=0.0, high=1.0)

    def __init__(self, logits, event_ndims, name="IndependentContinuousBernoulliDistribution"):
        elements = tfd.ContinuousBernoulli(logits=logits, dtype=logits.dtype)
        super().__init__(elements, event_ndims, name, logits=logits)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -continuous_bernoulli_nll(x, self.logits, event_ndims=event_ndims)

    # TFP's moments lose half the digits where l is near 0, which is where a network starts.

    def _mean(self):
        return mean_of(self.logits)

    def _variance(self):
        return variance_of(self.logits)

    def _stddev(self):
        return ops.sqrt(self._variance())

    def _entropy(self):
        # log p is linear in x: its mean is log p at the mean.
        return -self._log_prob(self._mean())


@keras.saving.register_keras_serializable("keras_vae")
class IndependentContinuousBernoulli(DistributionLayer):
    """Independent continuous Bernoulli variables: the likelihood of grey pixels in [0, 1].

        log p(x) = sum_i [ x_i l_i - log( (exp(l_i) - 1) / l_i ) ]

    The logits l are linear in the features. With lambda = sigmoid(l) the density of an element and its mean are

        p(x) = C(lambda) lambda^x (1 - lambda)^(1 - x),    E[x] = 1 / (1 - exp(-l)) - 1 / l

    That is the binary cross-entropy, and the constant C that makes it a density of grey levels. Without it, log p is
    off by log C >= log 2 a pixel, most where lambda is near 0 or 1. (Loaiza-Ganem & Cunningham, "The continuous
    Bernoulli: fixing a pervasive error in variational autoencoders", arXiv 1907.06845.) The mean is not lambda.

        likelihood = keras_vae.layers.IndependentContinuousBernoulli((8, 8, 1))
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as the logits. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers.
    """

    def marginal(self, moments):
        mean = np.clip(moments.mean, NEAREST, 1.0 - NEAREST)
        # The mean is nearer to an end than 1 / |l| for no l.
        steepest = np.full_like(mean, 1.0 / NEAREST)
        return [np.asarray(root(lambda logits: mean_of(logits) - mean, -steepest, steepest, iterations=60))]

    def distribution(self, logits):
        return IndependentContinuousBernoulliDistribution(logits, event_ndims=len(self.event_shape))
