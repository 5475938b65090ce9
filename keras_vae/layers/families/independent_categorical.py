"""Independent categorical variables over levels 0, 1, ..., each of which has a probability of its own."""

import math

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd
from keras_vae.checks import check_integer
from keras_vae.data.support import levels_from_zero
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent import IndependentDistribution


class IndependentCategoricalDistribution(IndependentDistribution):
    """Independent categorical variables over whole numbers.

    Args:
        logits: log-probabilities, up to a constant for each element, `[..., *event, levels]`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("logits",)
    extra_axes = 1

    def __init__(self, logits, event_ndims, name="IndependentCategorical"):
        super().__init__(tfd.Categorical(logits=logits, dtype=logits.dtype), event_ndims, name, logits=logits)

    @property
    def support(self):
        """The `Support`, the values that are scored: whole numbers 0, ..., levels - 1."""
        return levels_from_zero("IndependentCategorical", self.logits.shape[-1])

    def log_prob_of_elements(self, x, event_ndims=0):
        # By comparison with each level, of which at most one is x: a gather's gradient is a scatter, which is slower.
        is_level = ops.equal(ops.cast(x, self.logits.dtype)[..., None], self._levels())
        log_prob = ops.sum(ops.where(is_level, ops.log_softmax(self.logits), 0.0), axis=-1)
        log_prob = ops.where(ops.any(is_level, axis=-1), log_prob, -math.inf)
        return ops.sum(log_prob, axis=tuple(range(-event_ndims, 0)))

    def probabilities(self):
        """The probability of each level, `[..., *event, levels]`."""
        return ops.softmax(self.logits)

    def point_estimate(self, average=None):
        """The likeliest level of each element: see `keras_vae.estimates.point_estimate`."""
        if average is None:
            return self.mode()
        return tfd.Categorical(probs=average(self.probabilities()), dtype=self.dtype).mode()

    def _levels(self):
        return ops.arange(self.logits.shape[-1], dtype=self.logits.dtype)

    def _mean(self):
        return ops.sum(ops.softmax(self.logits) * self._levels(), axis=-1)

    def _variance(self):
        return ops.sum(ops.softmax(self.logits) * ops.square(self._levels() - self._mean()[..., None]), axis=-1)

    def _stddev(self):
        return ops.sqrt(self._variance())


@keras.saving.register_keras_serializable("keras_vae")
class IndependentCategorical(DistributionLayer):
    """A categorical distribution for each element: integer levels 0, ..., levels - 1, or the numbers of categories.

        log p(x) = sum_i log softmax(l_i)[x_i]

    This is the softmax cross-entropy, summed. Nothing ties neighbouring levels together: the distribution can take any
    shape, and must learn each level's probability. `DiscretizedLogistic` is for levels that are a scale, as of grey.
    What a VAE predicts of it is the mode, the likeliest level: in `reconstruct`, `generate`, `predict`, exports and
    pictures. `predict` averages the probabilities over its draws of z first. `mean()` is the mean of the levels as
    numbers, which of categories without an order says nothing.

        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentCategorical(13, levels=5)])
        likelihood = decoder(np.zeros((2, 4)))
        likelihood.mode()  # the likeliest level of each, [2, 13]
        likelihood.probabilities()  # of every level, [2, 13, 5]

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        levels: how many there are, an integer >= 2.
        projection: False to take the features as the logits, `levels` of them for each element, element after element.
            See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers; `levels` is not an integer >= 2.
    """

    def __init__(self, event_shape, levels, projection=True, **kwargs):
        super().__init__(event_shape, projection=projection, **kwargs)
        self.levels = check_integer(type(self).__name__, "levels", levels, least=2)
        self.parameters_per_element = self.levels

    @property
    def counted_levels(self):
        """How many levels there are."""
        return self.levels

    def marginal(self, moments):
        counts = np.maximum(moments.levels, 0.5)  # what was never met may still come
        return [np.log(counts) - np.log(counts.sum(axis=-1, keepdims=True))]

    def parameters(self, features):
        return [ops.reshape(features, (-1, *self.event_shape, self.levels))]

    def distribution(self, logits):
        return IndependentCategoricalDistribution(logits, event_ndims=len(self.event_shape))

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
