"""Callbacks for the `fit` of a VAE: what it learns, in TensorBoard or as pictures, and alarms for what goes wrong."""

from keras_vae.callbacks.collapse_alarm import CollapseAlarm
from keras_vae.callbacks.gallery import Gallery
from keras_vae.callbacks.tensorboard import TensorBoard

__all__ = ["CollapseAlarm", "Gallery", "TensorBoard"]


def __dir__():
    return __all__
