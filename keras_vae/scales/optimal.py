"""The sigma that maximises the likelihood, in closed form."""

import keras
import numpy as np
from keras import ops

from keras_vae.checks import check_fraction
from keras_vae.scales.base import (
    LARGEST_LOG_SCALE,
    LearnedScale,
    averaged_axes,
    check_same_shape,
    shape_along,
    shared_sigma,
)


@keras.saving.register_keras_serializable("keras_vae")
class Optimal(LearnedScale):
    """The sigma that maximises the likelihood of the training batch: sigma-VAE's optimal variance (arXiv 2006.13202).

        sigma^2 = mean over the batch and the event of (x - mu)^2,    for a Gaussian

    In training each batch is scored with its own best sigma, which its family finds in closed form or as a fixed point.
    Everything else, evaluation and draws among it, uses the estimate that training has left. That is the moving average
    of sigma^2, and never a sigma of the data that is scored. So a test set is scored honestly.

    A VAE does so at each step. A model of one's own scores a batch and keeps its sigma in three steps.

        distribution, fits = layer(features, training=True).fitted_to(x)
        log_prob = distribution.log_prob(x)
        for fit in fits:
            fit.commit()

    On several devices each replica's share has a sigma of its own, as a batch's statistics do in Keras.

        scale = keras_vae.scales.Optimal()
        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentNormal(13, scale=scale)])
        decoder.build((None, 4))
        scale.value()  # what training has left; 1 before any

    Args:
        floor: the smallest sigma, approached smoothly: sigma^2 = estimate + floor^2.
        axis: an axis of the event, or several, along which sigma varies: `axis=-1` for one sigma a channel. None, the
            default, for a single one.
        momentum: of the moving average, in [0, 1): the share of what was before. Closer to 1 it is steadier, and
            remembers the first, large errors longer.

    Raises:
        ValueError: `floor` is not a positive finite number, `momentum` not in [0, 1), or the event has no such axis.
    """

    is_fitted = True
    is_learned = True

    def __init__(self, floor=1e-3, axis=None, momentum=0.95, **kwargs):
        super().__init__(floor=floor, **kwargs)
        self.axis = axis
        self.momentum = check_fraction("Optimal", "momentum", momentum)

    def build(self, event_shape):
        shape = shape_along("Optimal", event_shape, self.axis)
        # The average starts from nothing: divided by the weight that its terms have had, it is unbiased at once.
        weight = {"initializer": "zeros", "trainable": False, "autocast": False}
        self.moving_square = self.add_weight(shape=shape, name="moving_square", **weight)
        self.moving_weight = self.add_weight(shape=shape, name="moving_weight", **weight)

    def build_for(self, event_shape):
        super().build_for(event_shape)
        check_same_shape(
            "Optimal", self.moving_square.shape, shape_along("Optimal", event_shape, self.axis), event_shape
        )

    def averaged_axes(self, event_shape):
        """The axes of such an event that share a sigma, counted from the back."""
        return averaged_axes(event_shape, self.axis)

    def with_floor(self, log_scale):
        """Returns the log of a fitted sigma, floor included, by which a training batch is scored."""
        return self.bounded(2.0 * log_scale)

    def observe(self, log_scale, weight=1.0):
        """Takes a training batch's best log sigma into the average.

        Args:
            log_scale: log sigma before the floor, of the scale's shape. What is not finite is not taken.
            weight: broadcastable with it: 0 where the batch had nothing to say of it, else 1.
        """
        counts = ops.cast(ops.isfinite(log_scale), log_scale.dtype) * weight
        square = ops.exp(2.0 * ops.clip(ops.where(counts > 0, log_scale, 0.0), -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        share = ops.cast((1.0 - self.momentum) * counts, self.moving_square.dtype)
        for average, value in ((self.moving_square, square), (self.moving_weight, ops.ones_like(square))):
            average.assign(average + share * (ops.cast(value, average.dtype) - average))

    def log_scale(self, features=None):
        """Returns the log of the sigma that training has left.

        It is 0 before any training, and for what was never observed.
        """
        weight = ops.convert_to_tensor(self.moving_weight)
        square = ops.convert_to_tensor(self.moving_square) / ops.where(weight > 0, weight, 1.0)
        return self.bounded(ops.log(ops.where(weight > 0, square, 1.0)))

    def start_at(self, sigma, weight):
        # As if all of the data had been one batch.
        sigma = shared_sigma(sigma, weight, self.moving_square.shape)
        share = np.full(self.moving_square.shape, 1.0 - self.momentum)
        self.moving_weight.assign(share)
        self.moving_square.assign(share * np.reshape(np.square(sigma), share.shape))
        return sigma, []

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "momentum": self.momentum}
