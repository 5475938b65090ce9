"""keras_vae: variational autoencoders for Keras 3 whose decoder is a distribution.

The line that data walks, which `VAE.call` reads as:

    x -> encoder -> q(z|x) -> z -> decoder -> p(x|z) -> objective -> terms [B] in nats -> add_loss / metrics
"""

import pathlib

if not pathlib.Path(__file__).with_name("ops").exists():
    # Imported from a clone, as by a script in its root: there `ops` stands beside this package.
    __path__.append(str(pathlib.Path(__file__).parents[1]))

from keras_vae import callbacks, evaluation, layers, objectives, ops, optimizers, priors, scales, schedules
from keras_vae.persistence import load_model
from keras_vae.vae import VAE
from keras_vae.version import __version__

__all__ = [
    "VAE",
    "__version__",
    "callbacks",
    "evaluation",
    "layers",
    "load_model",
    "objectives",
    "ops",
    "optimizers",
    "priors",
    "scales",
    "schedules",
]


def __dir__():
    return __all__
