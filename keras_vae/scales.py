"""Where a location-scale layer's sigma comes from: one small class each.

A scale is a Keras layer that gives log sigma^2, broadcastable with the location. It may own weights, or ask the
distribution layer for `maps` feature maps an element. Learned scales meet a smooth floor,

    sigma^2 = exp(raw) + floor^2,

so that a variance which training drives to zero stays positive and its gradient fades instead of becoming NaN; and are
cut off above sigma = e^40.
"""

import math
import numbers

import keras
import numpy as np
from keras import ops

from keras_vae.ops import log_add_exp

__all__ = ["Fixed", "PerDimension", "PerElement", "Scale", "Shared"]

# Above, exp(-log_variance / 2) and its square leave float32.
LARGEST_LOG_VARIANCE = 80.0


class Scale(keras.layers.Layer):
    """Base class. A subclass gives `log_variance`, and `maps` if it wants features of the network's.

    `build(event_shape)` creates what weights it owns.
    """

    maps = 0  # feature maps taken from the network, an element of the event

    def build_for(self, event_shape):
        """Builds the scale for events of this shape, unless it is built."""
        if not self.built:
            self.build(event_shape)

    def log_variance(self, features=None):
        """log sigma^2, broadcastable with `[..., *event]`. `features`: `[..., *event]` if `maps` is 1, else None."""
        raise NotImplementedError(f"{type(self).__name__} must define `log_variance`")


@keras.saving.register_keras_serializable("keras_vae")
class Fixed(Scale):
    """A sigma that is known and not learned. With it, maximising the likelihood is minimising squared error.

    Args:
        value: sigma, a positive finite number.

    Raises:
        ValueError: `value` is not a positive finite number.
    """

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.sigma = check_positive("Fixed", "value", value)

    def value(self):
        """sigma, a float."""
        return self.sigma

    def log_variance(self, features=None):
        return 2.0 * math.log(self.sigma)

    def get_config(self):
        return {**super().get_config(), "value": self.sigma}


class LearnedScale(Scale):
    """A scale that is learned: floor and starting value.

    Args:
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.
    """

    def __init__(self, floor=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.floor = check_positive(type(self).__name__, "floor", floor)

    def bounded(self, raw):
        """log(exp(raw) + floor^2), and at most the largest log-variance that the loss ops hold exactly."""
        return ops.minimum(log_add_exp(raw, 2.0 * math.log(self.floor)), LARGEST_LOG_VARIANCE)

    def get_config(self):
        return {**super().get_config(), "floor": self.floor}


class FreeScale(LearnedScale):
    """A learned scale that does not depend on the network's features: a weight.

    Args:
        initial: sigma before training, above `floor`.
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.

    Raises:
        ValueError: `initial` or `floor` is not a positive finite number, or `initial` is not above `floor`.
    """

    def __init__(self, initial=1.0, floor=1e-3, **kwargs):
        super().__init__(floor=floor, **kwargs)
        self.initial = check_positive(type(self).__name__, "initial", initial)
        if self.initial <= self.floor:
            raise ValueError(
                f"{type(self).__name__}: expected `initial` sigma above `floor`; "
                f"received: initial={initial}, floor={floor}"
            )

    def weight_shape(self, event_shape):
        """The shape of the weight that holds log sigma^2 before the floor."""
        raise NotImplementedError(f"{type(self).__name__} must define `weight_shape`")

    def build(self, event_shape):
        self.raw = self.add_weight(
            shape=self.weight_shape(event_shape),
            # log(initial^2 - floor^2), as a NumPy number: Keras would round a Python one to float32.
            initializer=keras.initializers.Constant(
                np.float64(2.0 * math.log(self.initial) + math.log1p(-((self.floor / self.initial) ** 2)))
            ),
            autocast=False,  # half precision would quantise sigma
            name="raw_log_variance",
        )

    def build_for(self, event_shape):
        super().build_for(event_shape)
        if tuple(self.raw.shape) != self.weight_shape(event_shape):
            raise ValueError(
                f"{type(self).__name__}: expected one event shape wherever the scale is used; received "
                f"{tuple(self.raw.shape)} first, and now {event_shape}. Give each layer a scale of its own."
            )

    def value(self):
        """The learned sigma, floor included: a tensor of `weight_shape(event_shape)`."""
        return ops.exp(0.5 * self.log_variance())

    def log_variance(self, features=None):
        return self.bounded(ops.convert_to_tensor(self.raw))

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable("keras_vae")
class Shared(FreeScale):
    """One learned sigma for the whole event: sigma-VAE's shared variance (arXiv 2006.13202)."""

    def weight_shape(self, event_shape):
        return ()


@keras.saving.register_keras_serializable("keras_vae")
class PerDimension(FreeScale):
    """One learned sigma for each element of the event, the same for every z."""

    def weight_shape(self, event_shape):
        return event_shape


@keras.saving.register_keras_serializable("keras_vae")
class PerElement(LearnedScale):
    """A sigma for each element that the network computes, as in appendix C.2 of AEVB (arXiv 1312.6114): the default.

    The network's output is log sigma^2 before the floor.
    """

    maps = 1

    def log_variance(self, features=None):
        return self.bounded(features)


def get(scale, dtype=None):
    """The `Scale` that an argument stands for: itself, `Fixed` for a number, `PerElement()` for None.

    One that is made here gets the policy `dtype`.

    Raises:
        ValueError: `scale` is none of these, or a number that is not positive.
    """
    if scale is None:
        return PerElement(dtype=dtype)
    if isinstance(scale, Scale):
        return scale
    if isinstance(scale, numbers.Real) and not isinstance(scale, bool):
        return Fixed(scale, dtype=dtype)
    raise ValueError(
        "Expected `scale` to be a positive number or a keras_vae.scales object such as Shared(), PerDimension() or "
        f"PerElement(); received: {scale!r}"
    )


def check_positive(owner, name, value):
    """`value` as a float, if it is a positive number whose log-variance the loss ops hold exactly."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise ValueError(
            f"{owner}: expected `{name}` (a standard deviation) to be a positive, finite number; received: {value!r}"
        )
    if abs(2.0 * math.log(value)) > LARGEST_LOG_VARIANCE:
        low, high = math.exp(-LARGEST_LOG_VARIANCE / 2), math.exp(LARGEST_LOG_VARIANCE / 2)
        raise ValueError(
            f"{owner}: expected `{name}` (a standard deviation) to be between {low:.1e} and {high:.1e}, for its square "
            f"to fit float32 with room to spare; received: {value!r}. Rescale the data."
        )
    return float(value)
