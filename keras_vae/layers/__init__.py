"""Distribution layers: features in, a TFP distribution out. Each comes last in an encoder or decoder."""

from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent_bernoulli import IndependentBernoulli
from keras_vae.layers.independent_normal import IndependentNormal

__all__ = ["DistributionLayer", "IndependentBernoulli", "IndependentNormal"]
