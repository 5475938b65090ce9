"""The total correlation of the aggregate posterior, as a penalty."""

from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.disentangled.kl_decomposition import KLDecomposition
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class TotalCorrelation(KLDecomposition):
    """The total correlation of the latent's units under the aggregate posterior: a penalty, to be added in a `Sum`.

        KL(q(z) || prod_u q(z_u)),    in nats

    Beside the ELBO, with weight w, it is the beta-TCVAE of beta = 1 + w. There the KL may be a closed form.

        objectives = keras_vae.objectives
        objective = objectives.Sum(objectives.ELBO(), objectives.TotalCorrelation(5.0))
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    How it is estimated, what it is under replicas and of weighted examples: see `BetaTC`.

    Args:
        weight: of the term, a number >= 0, a `keras.Variable` of one, or a schedule: see `ELBO`.
        estimator, num_examples: as of `BetaTC`.
        num_samples: how many draws of the latent an example. In a `Sum` the first objective's counts.

    Raises:
        ValueError: as of `BetaTC`.
    """

    weight = Hyperparameter()

    def __init__(
        self,
        weight: float | LearningRateSchedule | keras.Variable = 1.0,
        estimator: str = "weighted",
        num_examples: int | None = None,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(estimator, num_examples, num_samples, **kwargs)
        self.weight = weight

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"total_correlation": self.weight}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"total_correlation": self.decomposed(forward)["total_correlation"]}
