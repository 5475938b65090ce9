"""The DIP-VAE: the ELBO, and latents whose covariance over the data is the identity."""

from typing import Any

import keras

from keras_vae.objectives.disentangled.dip import DIP
from keras_vae.objectives.forward_pass import ForwardPass


@keras.saving.register_keras_serializable("keras_vae")
class DIPVAE(DIP):
    """The DIP-VAE, I or II: equations 6 and 7 of Kumar, Sattigeri & Balakrishnan (arXiv 1711.00848), negated.

        E_q(z|x)[ -log p(x|z) ] + KL(q(z|x) || p(z)) + lambda_od sum_(u != v) C_uv^2 + lambda_d sum_u (C_uu - 1)^2

    Here C is the covariance of the posteriors' means ("I") or of the latents themselves ("II"). What it is in a
    batch, under replicas and of weighted examples: see `DIP`. That penalty beside another objective is a `Sum`.

        objective = keras_vae.objectives.DIPVAE(lambda_od=10.0, lambda_d=10.0, kind="II")
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    Args:
        lambda_od, lambda_d, kind: as of `DIP`.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: as of `DIP`.
    """

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "kl": 1.0, **super().term_weights}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, "kl": forward.kl, **super().__call__(forward)}
