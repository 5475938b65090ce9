"""The Wasserstein autoencoder, with the maximum mean discrepancy."""

from typing import Any

import keras

from keras_vae.objectives.discrepancy.mmd import MMD
from keras_vae.objectives.forward_pass import ForwardPass


@keras.saving.register_keras_serializable("keras_vae")
class WAE(MMD):
    """The Wasserstein autoencoder, WAE-MMD: equation 4 and algorithm 2 of Tolstikhin et al. (arXiv 1711.01558).

        E_q(z|x)[ -log p(x|z) ] + lambda MMD^2(q(z), p(z)),    without a KL

    The aggregate posterior is held to the prior, and no single posterior is. The cost of a reconstruction is the
    likelihood's. It is the paper's squared error |x - mean|^2, and a constant, for a Gaussian of variance 1/2. Where
    sigma is learned, lambda counts in units of it.

        scale = keras_vae.scales.Fixed(0.5**0.5)
        decoder = keras.Sequential([layers.Dense(8), keras_vae.layers.IndependentNormal(13, scale=scale)])
        vae = keras_vae.VAE(vae.encoder, decoder, objective=keras_vae.objectives.WAE(weight=10.0))

    What `mmd` is in a batch, under replicas and of weighted examples: see `MMD`.

    Args:
        weight: lambda, a number >= 0, a `keras.Variable` of one, or a schedule: see `ELBO`.
        kernel: a `keras_vae.objectives.kernels` object. Default: the paper's, `InverseMultiquadratic()`.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `weight` or `kernel` is not as above; `num_samples` is not a positive integer.
    """

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, **super().term_weights}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, **super().__call__(forward)}
