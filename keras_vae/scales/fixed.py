"""A sigma that is known."""

import math

import keras
import numpy as np

from keras_vae.scales.base import Scale, check_sigma


@keras.saving.register_keras_serializable("keras_vae")
class Fixed(Scale):
    """A sigma that is known and not learned. With it, maximising a Gaussian's likelihood is minimising squared error.

        likelihood = keras_vae.layers.IndependentNormal(13, scale=keras_vae.scales.Fixed(0.1))  # or scale=0.1
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        value: sigma, a positive finite number.

    Raises:
        ValueError: `value` is not a positive finite number.
    """

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.sigma = check_sigma("Fixed", "value", value)

    def value(self):
        """Returns sigma, a float."""
        return self.sigma

    def log_scale(self, features=None):
        return math.log(self.sigma)

    def start_at(self, sigma, weight):
        return np.full_like(sigma, self.sigma), []

    def get_config(self):
        return {**super().get_config(), "value": self.sigma}
