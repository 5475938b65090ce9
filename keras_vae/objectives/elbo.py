"""The evidence lower bound."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.base import Objective
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.kl import kl_divergence
from keras_vae.objectives.term_weight import TermWeight


@keras.saving.register_keras_serializable("keras_vae")
class ELBO(Objective):
    """The evidence lower bound, negated to be minimised: equation 10 of AEVB (arXiv 1312.6114).

        -ELBO = E_q(z|x)[ -log p(x|z) ] + beta KL(q(z|x) || p(z)),    in nats per example

    The expectation is the mean over `num_samples` draws. The KL is exact where TFP has a closed form registered.
    Elsewhere it is the mean of log q(z|x) - log p(z) over the same draws. `vae.summary()` says which.

        warm_up = keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=1000, end_learning_rate=1.0)
        objective = keras_vae.objectives.ELBO(beta=warm_up)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    A number may be set at any time: `vae.objective.beta = 4.0` counts from the next step on, and is saved.

    Args:
        beta: weight of the KL, a number >= 0; a `keras.Variable` of one, which is used as it is, is never trained, and
            is saved as its number; or a `keras.optimizers.schedules.LearningRateSchedule` of the optimizer's
            iterations. That is the optimizer of the model that is trained, which may be one around the VAE. Outside
            training, and where no optimizer is, a schedule's final value counts. 1 is the bound itself; else beta-VAE
            (Higgins et al., ICLR 2017). The metrics `kl` and `elbo` are never weighted.
        num_samples: how many draws of the latent an example, the paper's L.

    Raises:
        ValueError: `beta` is negative, not finite, or neither number nor schedule; a schedule is set where the built
            model has a number, or the other way round; `num_samples` is not a positive integer.
    """

    beta = TermWeight()

    def __init__(self, beta: float | LearningRateSchedule | keras.Variable = 1.0, num_samples: int = 1, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.beta = beta

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "kl": self.beta}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        nll = -ops.mean(forward.log_likelihood, axis=0)
        return {"nll": nll, "kl": kl_divergence(forward)}

    def elbo(self, terms: dict[str, Any]) -> Any:
        return -(terms["nll"] + terms["kl"])
