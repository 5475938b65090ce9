"""Optimizers: what Keras has none for."""

from keras_vae.optimizers.routed import Routed

__all__ = ["Routed"]


def __dir__():
    return __all__
