"""Priors over the latent. Each is called without arguments, and gives a TFP distribution."""

from keras_vae.priors.base import Prior
from keras_vae.priors.standard_normal import StandardNormal

__all__ = ["Prior", "StandardNormal"]


def __dir__():
    return __all__
