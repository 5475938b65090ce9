"""The evidence lower bound."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_choice
from keras_vae.objectives.base import Objective
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.kl import check_closed_form, kl_by_draws


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
        kl: "closed" for a registered closed form, "draws" for the draws' mean, or "auto": closed where there is one.
        gradient: "plain"; or "stl" for the gradient of Roeder, Wu & Duvenaud ("Sticking the landing", arXiv
            1703.09194). That reaches the encoder through z alone, of a KL by draws. It is unbiased, and
            for a posterior that is exact it is 0 in every single draw.

    Raises:
        ValueError: `beta` is negative, not finite, or neither number nor schedule; a schedule is set where the built
            model has a number, or the other way round; `num_samples` is not a positive integer; `kl` or `gradient` is
            not as above; `gradient="stl"` with `kl="closed"`; when built, `kl="closed"` where none is registered.
    """

    beta = Hyperparameter()

    def __init__(
        self,
        beta: float | LearningRateSchedule | keras.Variable = 1.0,
        num_samples: int = 1,
        kl: str = "auto",
        gradient: str = "plain",
        **kwargs,
    ):
        super().__init__(num_samples, **kwargs)
        self.beta = beta
        self.kl = check_choice(type(self).__name__, "kl", kl, ("auto", "closed", "draws"))
        self.gradient = check_choice(type(self).__name__, "gradient", gradient, ("plain", "stl"))
        if gradient == "stl" and kl == "closed":
            raise ValueError(
                f'{type(self).__name__}: expected `kl` to be "draws" or "auto" with gradient="stl", whose gradient is '
                'that of a KL by draws; received: kl="closed"'
            )

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "kl": self.beta}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, "kl": self.kl_of(forward)}

    def kl_of(self, forward: ForwardPass) -> Any:
        """The KL as it was asked for, `[B]`, nats."""
        if self.gradient == "stl":
            return ops.mean(forward.pathwise_log_posterior - forward.log_prior, axis=0)
        if self.kl == "draws":
            return kl_by_draws(forward)
        if self.kl == "closed":
            check_closed_form(type(self).__name__, forward.posterior, forward.prior)
        return forward.kl

    def has_closed_kl(self, posterior: Any, prior: Any) -> bool:
        by_draws = self.kl == "draws" or self.gradient == "stl"
        return not by_draws and super().has_closed_kl(posterior, prior)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kl": self.kl, "gradient": self.gradient}
