"""The base classes of every layer that returns a distribution, which encoders and decoders end in."""

import warnings
from typing import Any

import keras

from keras_vae import compat
from keras_vae.backend import tfd


class LikelihoodLayer(keras.layers.Layer):
    """A Keras layer from features to a TFP distribution, which an encoder or a decoder ends in.

    Called on data, it returns the distribution. Called on a symbolic tensor, it returns a symbolic tensor of the
    event's shape. `DistributionLayer` is the kind that projects features to parameters. `WrapperLayer` changes another
    layer's distribution.

    A subclass has `event_shape` at the latest when it is built, and defines `call(features, training=None)`.

        @keras.saving.register_keras_serializable("my_package")
        class StandardCauchy(keras_vae.layers.LikelihoodLayer):
            event_shape = (4,)

            def call(self, features, training=None):  # the features are the locations
                return tfp.distributions.Independent(tfp.distributions.Cauchy(features, 1.0), 1)

        decoder = keras.Sequential([layers.Dense(4), StandardCauchy()])
    """

    counted_levels = 0  # of how many levels 0, 1, ... `start_at` must know how often each occurs

    def start_at(self, moments: Any) -> None:
        """Sets the weights so that the distribution is that of the data as a whole, whatever the features.

        A layer that does not know how warns, and stays as it is.

        Args:
            moments: a `keras_vae.data.moments.Moments` of the event's shape, of the data.
        """
        warn_of_start(self, "it does not say which weights make it the distribution of the data as a whole")

    def learned_values(self) -> dict[str, Any]:
        """The values that training has learned and that do not depend on the features, by name: `{"sigma": 0.3}`, say.

        Each is reported as a metric while the model trains.
        """
        return {}

    def call(self, features: Any, training: bool | None = None) -> tfd.Distribution:
        """The distribution of features `[B, *features]`: batch `[B]`, event `event_shape`."""
        raise NotImplementedError(f"{type(self).__name__} must define `call`")

    def compute_output_spec(self, features, training=None):
        if not self.built:
            self.build(features.shape)
        return keras.KerasTensor(self.compute_output_shape(features.shape), dtype=self.event_dtype())

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.event_shape)

    def event_dtype(self):
        """The dtype of one draw: float32, or float64 under a float64 policy."""
        return keras.backend.result_type(self.compute_dtype, "float32")


class WrapperLayer(LikelihoodLayer):
    """A layer that changes another layer's distribution, as `Masked` does, and leaves all else to that layer.

    A subclass defines `wrap(distribution)`.

        @keras.saving.register_keras_serializable("my_package")
        class Scaled(keras_vae.layers.WrapperLayer):
            def wrap(self, distribution):
                return tfp.distributions.TransformedDistribution(distribution, tfp.bijectors.Scale(0.5))

        likelihood = Scaled(keras_vae.layers.IndependentNormal(13))
        likelihood(np.zeros((2, 64))).mean()  # [2, 13]

    Args:
        likelihood: a `LikelihoodLayer`; it is kept as `.likelihood`.

    Raises:
        ValueError: `likelihood` is none.
    """

    def __init__(self, likelihood, **kwargs):
        super().__init__(**kwargs)
        self.likelihood = check_likelihood(type(self).__name__, likelihood)

    @property
    def event_shape(self):
        """The shape of one draw."""
        return self.likelihood.event_shape

    def build(self, input_shape):
        if not self.likelihood.built:
            self.likelihood.build(input_shape)

    def wrap(self, distribution):
        """The distribution that this layer makes of the other layer's."""
        raise NotImplementedError(f"{type(self).__name__} must define `wrap`")

    def call(self, features, training=None):
        return self.wrap(self.likelihood(features, training=training))

    def learned_values(self):
        return self.likelihood.learned_values()

    def event_dtype(self):
        return self.likelihood.event_dtype()

    def get_config(self):
        return {**super().get_config(), "likelihood": keras.saving.serialize_keras_object(self.likelihood)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "likelihood": keras.saving.deserialize_keras_object(config["likelihood"])})


def warn_of_start(layer, reason):
    """Warns that a layer was not adapted to data."""
    warnings.warn(
        f"adapt: the layer {layer.name!r}, {type(layer).__name__}, stays as it is: {reason}. Scale x to about one, or "
        "start the weights before it yourself.",
        UserWarning,
        stacklevel=2,
    )


def check_likelihood(owner, layer):
    """Returns `layer`, if it is a `LikelihoodLayer`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(layer, LikelihoodLayer):
        raise ValueError(
            f"{owner}: expected `likelihood` to be a distribution layer, such as keras_vae.layers.IndependentNormal(13)"
            f"; received: {layer!r}"
        )
    return layer


def likelihood_layers(network):
    """The `LikelihoodLayer`s in a network that are not part of another one, in order."""
    found = [layer for layer in compat.layers_of(network) if isinstance(layer, LikelihoodLayer)]
    parts = {id(part) for layer in found for part in compat.layers_of(layer, include_self=False)}
    return [layer for layer in found if id(layer) not in parts]
