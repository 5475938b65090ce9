"""A location-scale distribution whose sigma is fitted to the x that it scores, and the record of such a fit."""

from typing import Any, NamedTuple

from keras import ops

from keras_vae.backend import tfd
from keras_vae.layers.delegate import Delegate


class Fit(NamedTuple):
    """A sigma that was fitted to a batch, and the scale that it was fitted for.

    Attributes:
        scale: the `keras_vae.scales` object whose estimate may take it in.
        log_scale: log sigma, of the scale's own shape.
        weight: of the same shape: 1, or 0 where the batch had nothing to say of it.
    """

    scale: Any
    log_scale: Any
    weight: Any

    def commit(self):
        """Takes the sigma into the scale's estimate. It is called once a step, however often the batch is scored."""
        self.scale.observe(self.log_scale, self.weight)


def fitted(distribution, x):
    """Returns a distribution with each sigma that is to be fitted to x fitted to it, and a list of those `Fit`s.

    It changes nothing: `Fit.commit` is what changes a scale.
    """
    fit = getattr(distribution, "fitted_to", None)
    return (distribution, []) if fit is None else fit(x)


class FittedDistribution(Delegate):
    """A location-scale distribution in training, which scores each x with the sigma that is best for it.

    No gradient flows through that sigma: at the maximum it is zero. Moments and draws have the sigma kept so far.

    Args:
        scale: a built scale with `is_fitted`.
        with_scale: a function of log sigma to a distribution of batch `[B]`.
    """

    advice = "Optimal() is for a likelihood: it is fitted to the data that is scored. Give the encoder another scale."

    def __init__(self, scale, with_scale, name="FittedDistribution"):
        self._scale, self._with_scale = scale, with_scale
        # The draws' sigma is not the network's: no gradient passes through them.
        super().__init__(with_scale(scale.log_scale()), dict(locals()), name, tfd.NOT_REPARAMETERIZED)

    def fitted_to(self, x):
        def mean(value):
            return self._in_scale_shape(ops.mean(value, axis=self._averaged_axes(x), keepdims=True))

        return self._fitted(x, mean, ops.ones(self._scale_shape(), self.dtype))

    def fitted_to_observed(self, x):
        """Does what `fitted_to` does, by the elements of x that are not NaN."""
        observed = ops.logical_not(ops.isnan(x))
        axes = self._averaged_axes(x)
        count = ops.sum(ops.cast(observed, self.dtype), axis=axes, keepdims=True)

        def mean(value):
            total = ops.sum(ops.where(observed, value, 0.0), axis=axes, keepdims=True)
            return self._in_scale_shape(total / ops.maximum(count, 1.0))

        something = ops.where(observed, x, ops.cast(self.support.valid_value, x.dtype))
        return self._fitted(something, mean, self._in_scale_shape(ops.cast(count > 0.0, self.dtype)))

    def _log_prob(self, x):
        return self.fitted_to(x)[0].log_prob(x)

    def log_prob_of_elements(self, x):
        return self.fitted_to(x)[0].log_prob_of_elements(x)

    def log_prob_of_observed(self, x):
        """log p of the elements of x that are not NaN, with the sigma that is best for them."""
        return self.fitted_to_observed(x)[0].log_prob_of_observed(x)

    def _fitted(self, x, mean, weight):
        """The distribution with the best sigma for x `[..., B, *event]`, and a list of that one `Fit`.

        `mean` averages over the elements that share a sigma.
        """
        best = ops.stop_gradient(self.distribution.best_log_scale(x, mean))
        return self._with_scale(self._scale.with_floor(best)), [Fit(self._scale, best, weight)]

    def _averaged_axes(self, x):
        """The axes of x that share a sigma: all before the event, and those of the event that the scale averages."""
        ndims, of_event = len(x.shape), self._scale.averaged_axes(tuple(self.event_shape))
        return (*range(ndims - len(self.event_shape)), *(axis + ndims for axis in of_event))

    def _scale_shape(self):
        return self._scale.moving_square.shape

    def _in_scale_shape(self, mean):
        return ops.reshape(mean, self._scale_shape())
