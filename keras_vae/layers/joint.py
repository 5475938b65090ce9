"""A likelihood for each part of x: mixed columns of a table, an image and its label."""

import math

import keras

from keras_vae.backend import tfd, tfp
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.distribution_lambda import DistributionLambda
from keras_vae.layers.masked import Masked


class JointDistribution(tfd.Distribution):
    """Independent parts, by name: x is a dictionary of them.

    (`tfd.JointDistributionNamed` traces each part again for each method, and knows no batch shape while it does.)

    Args:
        parts: a dictionary of distributions of one batch shape.
    """

    def __init__(self, parts, name="JointDistribution"):
        parameters = dict(locals())
        self._parts = self._no_dependency(dict(parts))
        super().__init__(
            dtype={name: part.dtype for name, part in parts.items()},
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @property
    def parts(self):
        """The distributions, by name."""
        return self._parts

    @property
    def support(self):
        """What values of each part are scored."""
        return self._each(lambda part: getattr(part, "support", None))

    def _each(self, function):
        return {name: function(part) for name, part in self._parts.items()}

    def _first(self):
        return next(iter(self._parts.values()))

    def _batch_shape(self):
        return self._first().batch_shape

    def _batch_shape_tensor(self):
        return self._first().batch_shape_tensor()

    def _event_shape(self):
        return self._each(lambda part: part.event_shape)

    def _event_shape_tensor(self):
        return self._each(lambda part: part.event_shape_tensor())

    def _log_prob(self, x):
        return sum(part.log_prob(x[name]) for name, part in self._parts.items())

    def _sample_n(self, n, seed=None):
        seeds = tfp.random.split_seed(seed, n=len(self._parts))
        return {name: part.sample(n, seed=seed) for seed, (name, part) in zip(seeds, self._parts.items(), strict=True)}

    def _mean(self):
        return self._each(lambda part: part.mean())

    def _mode(self):
        return self._each(lambda part: part.mode())

    def _stddev(self):
        return self._each(lambda part: part.stddev())

    def _variance(self):
        return self._each(lambda part: part.variance())

    def _entropy(self):
        return sum(part.entropy() for part in self._parts.values())


@keras.saving.register_keras_serializable("keras_vae")
class Joint(keras.layers.Layer):
    """A likelihood for each named part of x, independent given the features.

        log p(x) = sum_k log p_k(x_k)

    For data that is a dictionary, `{"age": [B], "image": [B, 28, 28, 1]}`: each part is scored in nats by its own
    family, which is all that weighs them against each other.

    Args:
        likelihoods: a dictionary of distribution layers, with the keys of x. Each projects the same features.

    Returns:
        When called on `[B, *features]`: a distribution of batch `[B]`, whose draws and moments are dictionaries.

    Raises:
        ValueError: `likelihoods` is no dictionary of distribution layers, or empty.
    """

    def __init__(self, likelihoods, **kwargs):
        super().__init__(**kwargs)
        is_dictionary = isinstance(likelihoods, dict) and likelihoods
        if not is_dictionary or not all(
            isinstance(layer, (DistributionLayer, DistributionLambda, Masked)) for layer in likelihoods.values()
        ):
            raise ValueError(
                "Joint: expected `likelihoods` to be a dictionary of distribution layers, such as {'age': "
                f"keras_vae.layers.IndependentNormal(())}}; received: {likelihoods!r}"
            )
        self.likelihoods = dict(likelihoods)

    def build(self, input_shape):
        for layer in self.likelihoods.values():
            if not layer.built:
                layer.build(input_shape)

    @property
    def event_shape(self):
        """Shape of one draw: a dictionary."""
        return {name: layer.event_shape for name, layer in self.likelihoods.items()}

    def learned(self):
        """What the parts have learned: `<part>_sigma`."""
        parts = ((name, getattr(layer, "learned", dict)()) for name, layer in self.likelihoods.items())
        return {f"{name}_{key}": value for name, learned in parts for key, value in learned.items()}

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)
        return (input_shape[0], self._size())

    def _size(self):
        return sum(math.prod(layer.event_shape) for layer in self.likelihoods.values())

    def call(self, features, training=None):
        return JointDistribution({name: layer(features, training=training) for name, layer in self.likelihoods.items()})

    def compute_output_spec(self, features, training=None):
        if not self.built:
            self.build(features.shape)
        # A network's output is one object, and so must be what stands for it: all parts side by side.
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        return keras.KerasTensor((features.shape[0], self._size()), dtype=dtype)

    def get_config(self):
        likelihoods = {name: keras.saving.serialize_keras_object(layer) for name, layer in self.likelihoods.items()}
        return {**super().get_config(), "likelihoods": likelihoods}

    @classmethod
    def from_config(cls, config):
        deserialize = keras.saving.deserialize_keras_object
        likelihoods = {name: deserialize(layer) for name, layer in config["likelihoods"].items()}
        return cls(**{**config, "likelihoods": likelihoods})
