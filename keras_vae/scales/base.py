"""The base classes of the scales: log sigma, and where it is held."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vae.checks import check_positive
from keras_vae.ops import log_add_exp
from keras_vae.reprs import repr_of

# Beyond either way, sigma^2 and 1 / sigma^2 come near the ends of float32.
LARGEST_LOG_SCALE = 40.0


class Scale(keras.layers.Layer):
    """The base class of the layers that give a likelihood its sigma.

    A subclass defines `log_scale`, and creates the weights that it owns in `build(event_shape)`. If it takes features
    from the network, it sets `parameters_per_element`.

        @keras.saving.register_keras_serializable("my_package")
        class Halved(keras_vae.scales.PerElement):
            def log_scale(self, features=None):
                return super().log_scale(features) + np.log(0.5)


        keras_vae.layers.IndependentNormal(13, scale=Halved())
    """

    parameters_per_element = 0  # numbers that it takes from the network, an element of the event
    is_learned = False  # whether training changes `value()`, which is then reported as a metric
    is_fitted = False  # whether a training batch says what it is: see `Optimal`

    def build_for(self, event_shape: tuple) -> None:
        """Builds the scale for events of this shape, unless it is built."""
        if not self.built:
            self.build(event_shape)

    def log_scale(self, features: Any = None) -> Any:
        """Returns log sigma, broadcastable with `[..., *event]`.

        Args:
            features: what it takes from the network, `[..., *event]`; None for a scale that takes nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `log_scale`")

    def start_at(self, sigma: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Starts at the sigma of data, where it is learned.

        Args:
            sigma: of each element, of the event's shape, or with axes of size 1; 0 of an element that never varies.
            weight: of each in the mean square of those that share one, of the same shape.

        Returns:
            The sigma that it starts at, of as many axes. And the features that give it, a list of arrays of the shape
            of `sigma`, as many as `parameters_per_element`.
        """
        return sigma, [np.zeros_like(sigma)] * self.parameters_per_element

    def __repr__(self):
        return repr_of(self)

    def value(self) -> Any:
        """Returns sigma, floor included. A sigma that is held in weights has a value once these are built.

        Raises:
            ValueError: sigma is a function of the features, or has not been built yet.
        """
        if self.parameters_per_element:
            raise ValueError(
                f"{type(self).__name__}: expected a scale of one `value()`; received one whose sigma is a function of "
                "the features. A distribution has it: decoder(z).stddev()"
            )
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}: expected `value()` of a scale that is built; received one whose layer has not "
                "been called yet. Build it: vae.build(x.shape), or fit"
            )
        return ops.exp(self.log_scale())


class LearnedScale(Scale):
    """A scale that is learned, down to a floor.

    Args:
        floor: the smallest sigma, approached smoothly: sigma^2 = exp(raw) + floor^2.
    """

    def __init__(self, floor=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.floor = check_sigma(type(self).__name__, "floor", floor)

    def bounded(self, raw):
        """Returns log sigma with sigma^2 = exp(raw) + floor^2, and at most what the loss ops hold exactly."""
        return 0.5 * ops.minimum(log_add_exp(raw, 2.0 * math.log(self.floor)), 2.0 * LARGEST_LOG_SCALE)

    def raw_of(self, sigma):
        """The `raw` that `bounded` makes log sigma of, for an array of sigmas; no nearer to the floor than 1%."""
        square = np.square(np.clip(sigma, 1.01 * self.floor, math.exp(LARGEST_LOG_SCALE)))
        return np.log(square - self.floor**2)

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

    is_learned = True

    def __init__(self, initial=1.0, floor=1e-3, **kwargs):
        super().__init__(floor=floor, **kwargs)
        self.initial = check_sigma(type(self).__name__, "initial", initial)
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
        check_same_shape(type(self).__name__, self.raw.shape, self.weight_shape(event_shape), event_shape)

    def log_scale(self, features=None):
        return self.bounded(ops.convert_to_tensor(self.raw))

    def start_at(self, sigma, weight):
        sigma = shared_sigma(sigma, weight, self.raw.shape)
        self.raw.assign(np.reshape(self.raw_of(sigma), self.raw.shape))
        return sigma, []

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


def shared_sigma(sigma, weight, shape):
    """The root mean square of what shares a sigma, in a scale of this shape: `()`, or an axis for each of the event's.

    What never varies has no sigma: it is 1.
    """
    shape = tuple(shape) or (1,) * sigma.ndim
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    total = weight.sum(axis=axes, keepdims=True)
    square = (weight * np.square(sigma)).sum(axis=axes, keepdims=True) / np.where(total > 0.0, total, 1.0)
    return np.broadcast_to(np.sqrt(np.where(square > 0.0, square, 1.0)), shape)


def kept_axes(event_shape, axis):
    """The event's axes that `axis` names, counted from the front, in order."""
    axes = () if axis is None else axis if isinstance(axis, (list, tuple)) else (axis,)
    return sorted(each % len(event_shape) for each in axes)


def averaged_axes(event_shape, axis):
    """The event's axes that `axis` does not name, counted from the back."""
    kept = kept_axes(event_shape, axis)
    return tuple(each - len(event_shape) for each in range(len(event_shape)) if each not in kept)


def shape_along(owner, event_shape, axis):
    """The shape of a value that varies along `axis` alone, broadcastable with the event: `()` if `axis` is None."""
    axes = () if axis is None else axis if isinstance(axis, (list, tuple)) else (axis,)
    rank = len(event_shape)
    if not all(hasattr(each, "__index__") and -rank <= each < rank for each in axes):
        raise ValueError(
            f"{owner}: expected `axis` to be None, or an axis of the event or several; received: axis={axis!r} for "
            f"events of shape {event_shape}"
        )
    if axis is None:
        return ()
    kept = kept_axes(event_shape, axis)
    return tuple(size if each in kept else 1 for each, size in enumerate(event_shape))


def check_same_shape(owner, shape, expected, event_shape):
    """Raises ValueError if a scale whose weight has this `shape` is used for events that need another."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{owner}: expected one event shape wherever the scale is used; received {tuple(shape)} first, and now "
            f"{event_shape}. Give each layer a scale of its own."
        )


def check_sigma(owner, name, value):
    """Returns `value` as a float, if it is a positive number whose log-variance the loss ops hold exactly.

    Raises:
        ValueError: it is not.
    """
    check_positive(owner, name, value)
    if abs(math.log(value)) > LARGEST_LOG_SCALE:
        low, high = math.exp(-LARGEST_LOG_SCALE), math.exp(LARGEST_LOG_SCALE)
        raise ValueError(
            f"{owner}: expected `{name}` to be between {low:.1e} and {high:.1e}, for its square to fit float32 with "
            f"room to spare; received: {value!r}. Rescale the data."
        )
    return float(value)
