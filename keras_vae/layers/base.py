"""The base class of the distribution layers, which turns features into parameters of the event's shape."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vae.backend import tfd
from keras_vae.checks import check_event_shape
from keras_vae.layers.likelihood_layer import LikelihoodLayer, warn_of_start


class DistributionLayer(LikelihoodLayer):
    """A Keras layer that projects features to the parameters of a TFP distribution, and returns that distribution.

    It is to a distribution what `Dense` is to a tensor. It comes last in a Sequential, functional or subclassed model.
    Called on data, it returns the distribution, with batch shape `[B]` and event shape `event_shape`. Called on a
    symbolic tensor, it returns a symbolic tensor of the event's shape.

    It projects features `[B, *features]` to `parameters_per_element` numbers for each element of the event:

    - Features on the event's own grid go through a Dense on the last axis, that is, a 1x1 convolution. They lie on it
      if `features[:-1]` is `event_shape` without its last axis, or all of it. A convolution's `(28, 28, 32)` lies on
      the grid of an image `(28, 28, 1)`, and on that of `(28, 28)`.
    - All other features are flattened, go through a Dense, and are reshaped.

    The rule goes by shapes alone. A sequence `(16, 64)` into 16 latents lies on the grid, and gives each latent its own
    time step. Put a Flatten before the layer where that is not meant.

    Parameters are float32 (float64 under a float64 policy) whatever the mixed-precision policy.

    A subclass sets `parameters_per_element`, or computes it, and defines `distribution(*parameters)`. If it does not
    have that many parameters for each element of the event, it overrides `units`, `units_on_grid` and `parameters`.

        @keras.saving.register_keras_serializable("my_package")
        class Exponential(keras_vae.layers.DistributionLayer):
            def distribution(self, log_rate):  # [B, *event]
                rate = ops.exp(log_rate)
                return tfp.distributions.Independent(tfp.distributions.Exponential(rate), len(self.event_shape))

        decoder = keras.Sequential([layers.Dense(64, "relu"), Exponential(13)])
        decoder(np.zeros((2, 4))).sample(seed=0)  # [2, 13]

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as the parameters, for a network that already ends in them. They are
            `[B, params_size]`, parameter after parameter, or lie on the event's grid with the parameters side by side
            along the last axis: `(28, 28, 2)` for the mean and the log-variance of `(28, 28, 1)`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers; `scale` is given to a family that has none; with
            `projection=False`, the features' shape is neither of the two.
    """

    parameters_per_element = 1  # numbers that the distribution takes from the network, an element of the event

    def __init__(self, event_shape: int | Sequence[int], projection: bool = True, **kwargs):
        if "scale" in kwargs:
            raise ValueError(
                f"{type(self).__name__}: expected no `scale`, since this family takes none; "
                f"received: scale={kwargs['scale']!r}"
            )
        super().__init__(**kwargs)
        self.event_shape = check_event_shape(type(self).__name__, event_shape)
        self.projection = projection
        self._dense = None

    @classmethod
    def params_size(cls, event_shape, **kwargs):
        """The number of features that `projection=False` takes, for a layer made with these arguments."""
        return cls(event_shape, **kwargs).units()

    def units(self) -> int:
        """The number of features that the event takes."""
        return self.parameters_per_element * math.prod(self.event_shape)

    def units_on_grid(self, channels: int) -> int | None:
        """The number of features for a cell of the event's grid of so many channels; None where there is no grid."""
        return self.parameters_per_element * channels

    def parameters(self, features: Any) -> list[Any]:
        """The distribution's parameters, tensors `[B, *event_shape]`, from features that are flat or on the grid."""
        shape = (-1, *self.event_shape)
        return [ops.reshape(part, shape) for part in ops.split(features, self.parameters_per_element, axis=-1)]

    def features_of(self, parameters: list[np.ndarray]) -> np.ndarray:
        """The features, flat or of one cell of the grid, that `parameters` makes these arrays of: its inverse."""
        return np.concatenate([np.reshape(each, -1) for each in parameters])

    def marginal(self, moments: Any) -> list[np.ndarray] | None:
        """The parameters that fit data of these moments, which are what `distribution` takes.

        None, the default, if that is not known: then `VAE.adapt` leaves the layer as it is.

        Args:
            moments: a `keras_vae.data.moments.Moments` of the event's shape; on a grid, of one cell, with axes of
                size 1 in place of the grid's.
        """
        return None

    def start_at(self, moments):
        if self._dense is None:
            return warn_of_start(self, "with projection=False its parameters are another layer's output")
        shape = self.event_shape
        if self._on_grid:
            shape = tuple(1 if axis < self._grid_ndims else size for axis, size in enumerate(shape))
        parameters = self.marginal(moments.pooled(shape) if self._on_grid else moments)
        if parameters is None:
            return super().start_at(moments)
        self._dense.kernel.assign(np.zeros(self._dense.kernel.shape))
        self._dense.bias.assign(self.features_of(parameters))

    def distribution(self, *parameters: Any) -> tfd.Distribution:
        """The distribution with these parameters, which `parameters` returns."""
        raise NotImplementedError(f"{type(self).__name__} must define `distribution`")

    def build(self, input_shape):
        features = tuple(input_shape[1:])
        # The event as seen on the features' grid: with a channel axis, which a grey image may lack.
        has_channels = len(features) == len(self.event_shape)
        grid, channels = (self.event_shape[:-1], self.event_shape[-1:]) if has_channels else (self.event_shape, ())
        self._grid_ndims = len(grid)
        on_grid = self.units_on_grid(math.prod(channels))
        self._on_grid = on_grid is not None and bool(features) and features[:-1] == grid
        units = on_grid if self._on_grid else self.units()
        if self.projection:
            if None in features:
                raise ValueError(
                    f"{type(self).__name__}: expected features of known shape; received: {tuple(input_shape)}"
                )
            self._dense = keras.layers.Dense(units, dtype=self.dtype_policy, name="projection")
            self._dense.build((None, features[-1] if self._on_grid else math.prod(features)))
        elif not (self._on_grid and features[-1] == units):
            self._on_grid = False
            if features != (self.units(),):
                on_grid = self.units_on_grid(self.event_shape[-1]) if self.event_shape else None
                on_the_grid = (
                    "" if on_grid is None else f" or, on the event's grid, {(*self.event_shape[:-1], on_grid)}"
                )
                raise ValueError(
                    f"{type(self).__name__}(event_shape={self.event_shape}, projection=False): expected features of "
                    f"shape ({self.units()},){on_the_grid}; received: {features}"
                )

    def projected(self, features):
        """Projects the features, unless they are the parameters already, and casts them to float32 or wider."""
        if self._dense is not None:
            flat_features = features if self._on_grid else ops.reshape(features, (ops.shape(features)[0], -1))
            features = self._dense(flat_features)
        return ops.cast(features, keras.backend.result_type(features.dtype, "float32"))

    def call(self, features: Any, training: bool | None = None) -> tfd.Distribution:
        return self.distribution(*self.parameters(self.projected(features)))

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape, "projection": self.projection}
