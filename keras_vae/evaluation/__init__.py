"""What a trained VAE is measured by, beyond its own loss."""

from keras_vae.evaluation.log_likelihood import ImportanceSampler

__all__ = ["ImportanceSampler"]
