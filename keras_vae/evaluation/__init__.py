"""Measures of a trained VAE, beyond its own loss."""

from keras_vae.evaluation.latents import ACTIVE_ABOVE, activity, mutual_information
from keras_vae.evaluation.log_likelihood import ImportanceSampler
from keras_vae.layers.units import unit_kl

__all__ = ["ACTIVE_ABOVE", "ImportanceSampler", "activity", "mutual_information", "unit_kl"]


def __dir__():
    return __all__
