"""A layer that takes the mean of a distribution, so that other layers can come after an encoder."""

import keras
from keras import ops

from keras_vae import compat
from keras_vae.backend import tfd
from keras_vae.estimates import centre


@keras.saving.register_keras_serializable("keras_vae")
class Mean(keras.layers.Layer):
    """Takes the mean of the distribution that a network ends in, to put a VAE's encoder under a head of its own.

        classifier = keras.Sequential([vae.encoder, keras_vae.layers.Mean(), layers.Dense(10, "softmax")])
        classifier.compile("adam", "sparse_categorical_crossentropy")

    Gradients pass through it to the encoder, unless that is frozen: `vae.encoder.trainable = False`.

    Returns:
        When called on a distribution of batch `[B]` and event `[*event]`, `[B, *event]`, in the policy's compute dtype;
        of a tensor, which stands for its own mean, the same. A distribution whose mean has no closed form, a flow say,
        has its centre instead: its mode, or its base's mean pushed through the bijector, or the mean of 256 draws.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        compat.accept_any_argument(self)

    def call(self, distribution):
        mean = centre(distribution) if isinstance(distribution, tfd.Distribution) else distribution
        return ops.cast(mean, self.compute_dtype)

    def compute_output_spec(self, distribution):
        return keras.KerasTensor(distribution.shape, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape
