"""Measures of a trained VAE, beyond its own loss."""

from keras_vae.evaluation.latents import ACTIVE_ABOVE, activity, mutual_information, unit_kl
from keras_vae.evaluation.log_likelihood import ImportanceSampler

__all__ = ["ACTIVE_ABOVE", "ImportanceSampler", "activity", "mutual_information", "unit_kl"]


def __dir__():
    return __all__
