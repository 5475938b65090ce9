"""keras_vae: variational autoencoders for Keras 3 whose decoder is a distribution.

The line that data walks, which `VAE.call` reads as:

    x -> encoder -> q(z|x) -> z -> decoder -> p(x|z) -> objective -> terms [B] in nats -> add_loss / metrics
"""

from keras_vae import layers, objectives, ops, priors, scales
from keras_vae.vae import VAE
from keras_vae.version import __version__

__all__ = ["VAE", "__version__", "layers", "objectives", "ops", "priors", "scales"]
