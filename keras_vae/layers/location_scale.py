"""The base class of the location-scale layers: features give the location, and a `keras_vae.scales` object sigma."""

import keras
import numpy as np
from keras import ops

from keras_vae import scales
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.fitted import FittedDistribution
from keras_vae.layers.likelihood_layer import warn_of_start
from keras_vae.layers.links import inverse_of
from keras_vae.scales.base import shared_sigma


class LocationScaleLayer(DistributionLayer):
    """A distribution layer with a location, mu = activation(features), and a scale, the sigma that `scale` gives.

    A subclass sets `family`, a distribution made from `(location, log_scale, event_ndims=...)`, or overrides
    `with_scale`. For `scale=Optimal()` the distribution has `best_log_scale(x, mean)`. A family with parameters beside
    the two sets `extra_parameters_per_element`, their number. `with_scale` takes them after the location.

        means_in_0_to_1 = keras_vae.layers.IndependentNormal((8, 8, 1), scale=0.1, activation="sigmoid")
        means_in_0_to_1(np.zeros((2, 64))).stddev()  # 0.1, [2, 8, 8, 1]

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        scale: where sigma comes from: a `keras_vae.scales` object, or a number for a sigma that is known and fixed.
            Default `PerElement()`, a function of the features, which is learned and has no one `value()`.
        activation: of the location, as Keras's layers take it: "sigmoid" for means in (0, 1). Default: none.
        projection: False to take the features as the parameters: the locations, then what more the family has, then
            (with `PerElement`) log sigma^2 before the scale's floor. See `DistributionLayer`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers; `scale` is no scale, or not positive; or it is
            one that the family cannot fit.
    """

    family = None
    extra_parameters_per_element = 0

    def __init__(self, event_shape, scale=None, activation=None, projection=True, **kwargs):
        super().__init__(event_shape, projection=projection, **kwargs)
        self.scale = scales.get(scale, dtype=self.dtype_policy)
        if self.scale.is_fitted and not hasattr(self.family, "best_log_scale"):
            raise ValueError(
                f"{type(self).__name__}: expected a scale that is fixed or learned, such as Shared(), since the "
                f"family's distribution has no `best_log_scale`; received: {type(self.scale).__name__}()"
            )
        self.activation = keras.activations.get(activation)

    @property
    def parameters_per_element(self):
        """How many numbers the distribution takes from the network for each element of the event."""
        return 1 + self.extra_parameters_per_element + self.scale.parameters_per_element

    def build(self, input_shape):
        self.scale.build_for(self.event_shape)
        super().build(input_shape)

    def call(self, features, training=None):
        location, *rest = self.parameters(self.projected(features))
        more, scale_features = rest[: self.extra_parameters_per_element], rest[self.extra_parameters_per_element :]
        location = self.activation(location)

        def with_scale(log_scale):
            return self.with_scale(location, *more, ops.convert_to_tensor(log_scale, dtype=location.dtype))

        if training and self.scale.is_fitted:
            return FittedDistribution(self.scale, with_scale)
        return with_scale(self.scale.log_scale(*scale_features))

    def with_scale(self, *parameters):
        """The distribution of a location `[B, *event]`, the family's other parameters, and log sigma, broadcastable."""
        return self.family(*parameters, event_ndims=len(self.event_shape))

    def sigma_of(self, moments):
        """The sigma of data of these moments, and its weight among elements that share one: two arrays."""
        return moments.stddev, moments.count

    def location_of(self, moments, sigma):
        """The location, after the activation, and the family's other parameters, of data of these moments.

        They are a list of arrays; `sigma` is what the scale starts at.
        """
        return [moments.mean]

    def marginal(self, moments):
        # A scale of its own may have a sigma for each element, even where a location is one for all of a grid.
        is_own = self.scale.parameters_per_element == 0 and moments.elements is not None
        sigma, features = self.scale.start_at(*self.sigma_of(moments.elements if is_own else moments))
        sigma = shared_sigma(sigma, np.ones_like(sigma), moments.mean.shape)
        location, *others = self.location_of(moments, sigma)
        return [inverse_of(self.activation)(location), *others, *features]

    def start_at(self, moments):
        if inverse_of(self.activation) is None:
            return warn_of_start(self, "the inverse of its activation is not known")
        super().start_at(moments)

    def learned_values(self):
        """`{"sigma": ...}`, or its mean if there are several.

        It is empty if sigma is fixed, or a function of the features.
        """
        is_learned = self.scale.built and self.scale.is_learned
        return {"sigma": ops.mean(self.scale.value())} if is_learned else {}

    def get_config(self):
        return {
            **super().get_config(),
            "scale": keras.saving.serialize_keras_object(self.scale),
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "scale": keras.saving.deserialize_keras_object(config["scale"])})


def fixed_point(update, start, iterations=30):
    """The log of the positive number that `update` leaves as it is, from `start` on.

    It finds a scale that has no closed form.
    """
    smallest = ops.cast(1e-30, start.dtype)

    def step(_, value):
        return ops.maximum(update(value), smallest)

    # A loop, and not its steps one after another: those take XLA as many times as long to compile.
    return ops.log(ops.fori_loop(0, iterations, step, ops.maximum(start, smallest)))


def root(slope, low, high, iterations=40):
    """Finds by bisection where an increasing function is 0, which is negative at `low` and positive at `high`."""

    def step(_, ends):
        low, high = ends
        middle = 0.5 * (low + high)
        is_below = slope(middle) < 0.0
        return ops.where(is_below, middle, low), ops.where(is_below, high, middle)

    low, high = ops.fori_loop(0, iterations, step, (low, high))
    return 0.5 * (low + high)
