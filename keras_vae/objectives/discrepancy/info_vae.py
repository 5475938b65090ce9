"""InfoVAE: the KL of single posteriors and the discrepancy of them all, each with a weight of its own."""

import math
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.discrepancy.mmd import OfKernel
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.kernels import RBF, Kernel
from keras_vae.objectives.values import combined, lowest


@keras.saving.register_keras_serializable("keras_vae")
class InfoVAE(OfKernel):
    """The InfoVAE with MMD as its divergence: section 3 of Zhao, Song & Ermon (arXiv 1706.02262), negated.

        E_q(z|x)[ -log p(x|z) ] + (1 - alpha) KL(q(z|x) || p(z)) + (alpha + lambda - 1) MMD^2(q(z), p(z))

    An alpha above 0 prefers latents that say more of x; with alpha = 1 it is the MMD-VAE. With alpha = 0 and
    lambda = 1 it is the ELBO.

        objective = keras_vae.objectives.InfoVAE(alpha=0.5, lambda_=500.0)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    What `mmd` is in a batch, under replicas and of weighted examples: see `MMD`.

    Args:
        alpha: a number <= 1, a `keras.Variable` of one, or a schedule: see `ELBO`.
        lambda_: the paper's lambda, a number >= 1 - alpha, a variable or a schedule.
        kernel: a `keras_vae.objectives.kernels` object. Default: `RBF()`.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `alpha`, `lambda_` or `kernel` is not as above, also where they are set later; `num_samples` is not
            a positive integer.
    """

    alpha = Hyperparameter(least=-math.inf, most=1.0)
    lambda_ = Hyperparameter()

    def __init__(
        self,
        alpha: float | LearningRateSchedule | keras.Variable = 0.0,
        lambda_: float | LearningRateSchedule | keras.Variable = 1000.0,
        kernel: Kernel | None = None,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(RBF() if kernel is None else kernel, num_samples, **kwargs)
        self.alpha = alpha
        self.lambda_ = lambda_

    def check_constants(self, constants: dict[str, Any]) -> None:
        super().check_constants(constants)
        alpha, lambda_ = constants.get("alpha"), constants.get("lambda_")
        # The bound is exact up to float32's rounding.
        if alpha is not None and lambda_ is not None and lowest(weight_of_mmd(alpha, lambda_)) < -1e-6:
            raise ValueError(
                f"{type(self).__name__}: expected `lambda_` to be at least 1 - alpha, so that the weight of the "
                f"discrepancy, alpha + lambda_ - 1, is not negative; received: alpha={alpha!r}, lambda_={lambda_!r}"
            )

    @property
    def term_weights(self) -> dict[str, Any]:
        of_kl = combined(lambda alpha: 1.0 - alpha, self.alpha)
        return {"nll": 1.0, "kl": of_kl, "mmd": weight_of_mmd(self.alpha, self.lambda_)}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, "kl": forward.kl, "mmd": self.mmd_of(forward)}


def weight_of_mmd(alpha, lambda_):
    """alpha + lambda - 1, a number or a schedule."""
    return combined(lambda alpha, lambda_: alpha + lambda_ - 1.0, alpha, lambda_)
