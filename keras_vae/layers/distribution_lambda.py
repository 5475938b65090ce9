"""A layer for any distribution that TFP has, by a function of the user's own."""

import keras
from keras import ops

from keras_vae import backend
from keras_vae.backend import tfd
from keras_vae.layers.likelihood_layer import LikelihoodLayer


@keras.saving.register_keras_serializable("keras_vae")
class DistributionLambda(LikelihoodLayer):
    """A distribution layer of any family: a function of the features returns the `tfd.Distribution`.

        @keras.saving.register_keras_serializable("my_package")
        def gamma(features):  # [B, 6]
            concentration, rate = keras.ops.split(keras.ops.softplus(features), 2, axis=-1)
            gamma = tfp.distributions.Gamma(concentration, rate)
            return tfp.distributions.Independent(gamma, 1)  # batch [B], event [3]

        likelihood = keras_vae.layers.DistributionLambda(gamma)
        decoder = keras.Sequential([layers.Dense(64, "relu"), layers.Dense(6), likelihood])

    The function makes a distribution of the features, as other layers do of their parameters. Whatever is learned
    stands in the layers before it. Log-density, moments and draws are as good as the family's own, under XLA, in
    float32 and at extreme features. Keep its parameters away from 0 and infinity.

    The layer is saved by the name that the function is registered under, and finds it by that name when it is loaded.
    No code is in the file, none of the file's is run, and `safe_mode` stays on. The layer asks at once whether the
    function is registered, and not when a model that took a night to train is to be saved.

    (`tfp.layers.DistributionLambda` pickles its function, and does not work with Keras 3.)

    Args:
        function: of features, float32 whatever the mixed-precision policy (float64 under float64), to a distribution
            with one batch axis, that of the features. An encoder's has to be reparameterized.

    Returns:
        When called on `[B, *features]`: what the function returns.

    Raises:
        ValueError: `function` is not registered; or, when built, it returns something else than a distribution, or one
            whose batch shape is not `[B]` or whose event is not one tensor of known shape.
    """

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function
        self.registered_name = check_registered(function)
        self.event_shape = None  # known once built

    def distribution(self, features):
        """The function's distribution of features `[B, *features]`, if it is one for each example."""
        dtype = keras.backend.result_type(features.dtype, "float32")
        distribution = self.function(ops.cast(features, dtype))
        name = f"DistributionLambda({self.registered_name})"
        if not isinstance(distribution, tfd.Distribution):
            raise ValueError(
                f"{name}: expected the function to return a tfd.Distribution; received a {type(distribution).__name__}"
            )
        if not distribution.batch_shape.is_compatible_with(features.shape[:1]):
            raise ValueError(
                f"{name}: expected a distribution with one batch axis, the features', {tuple(features.shape[:1])}; "
                f"received {type(distribution).__name__} of batch shape {tuple(distribution.batch_shape)}, event shape "
                f"{distribution.event_shape}. Should its other axes be part of the event: tfd.Independent("
                "distribution, reinterpreted_batch_ndims=...)?"
            )
        return distribution

    def build(self, input_shape):
        traced = backend.traced(self.distribution, (None, *input_shape[1:]), self.compute_dtype)
        shape = traced.event_shape
        if not hasattr(shape, "rank") or not shape.is_fully_defined():
            raise ValueError(
                f"DistributionLambda({self.registered_name}): expected an event that is one tensor, of a shape known "
                f"while tracing; received {type(traced).__name__} of event shape {shape}. keras_vae.layers.Joint is a "
                "distribution of several."
            )
        self.event_shape, self.function_dtype = tuple(shape), keras.backend.standardize_dtype(traced.dtype)

    def call(self, features, training=None):
        return self.distribution(features)

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)
        return super().compute_output_shape(input_shape)

    def event_dtype(self):
        return self.function_dtype

    def get_config(self):
        return {**super().get_config(), "function": self.registered_name}

    @classmethod
    def from_config(cls, config):
        function = keras.saving.get_registered_object(config["function"])
        if function is None:
            raise ValueError(
                f"DistributionLambda: no function is registered under the name {config['function']!r}, by which this "
                "layer was saved. Import the module that registers it before loading."
            )
        return cls(**{**config, "function": function})


def check_registered(function):
    """The name that a function is registered under with Keras."""
    name = keras.saving.get_registered_name(function) if hasattr(function, "__name__") else None
    if name is None or keras.saving.get_registered_object(name) is not function:
        raise ValueError(
            "DistributionLambda: expected a function registered with Keras, by whose name it can be saved; received: "
            f'{function!r}. Define it with `def`, under @keras.saving.register_keras_serializable("my_package").'
        )
    return name
