"""The beta-TCVAE: the KL in three parts, each with a weight of its own."""

from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.disentangled.kl_decomposition import KLDecomposition
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class BetaTC(KLDecomposition):
    """The beta-TCVAE, whose total correlation has a weight of its own: equation 4 of Chen et al. (arXiv 1802.04942).

        E[ -log p(x|z) ] + alpha I(x; z) + beta KL(q(z) || prod_u q(z_u)) + gamma sum_u KL(q(z_u) || p(z_u))

    Here q(z) = 1/N sum_n q(z|x_n) is the aggregate posterior of all N examples. With weights of 1 the parts add up to
    the KL, by draws, whatever the estimate of q(z). They are the terms `mutual_information`, `total_correlation` and
    `dimension_kl`, in nats.

        objective = keras_vae.objectives.BetaTC(beta=6.0)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    A batch of B examples estimates q(z), and each q(z_u), at the draw for x_i:

        weighted     1/(N B) sum_j q(z|x_j)                                        appendix C.1
        stratified   1/N q(z|x_i) + (1 - 1/N) mean of q(z|x_j) over j != i         appendix C.2

    The first is the paper's choice. It gives the parts for the batch's own mixture, 1/B sum_j q(z|x_j), and adds
    constants to them. With D units these are log N, (D - 1) log N and -D log N. They have no gradient. But so the terms
    are no numbers to read, and may be negative: `dimension_kl` mostly is. Read `kl`, which is reported beside them, or
    the terms of "stratified".

    The second is unbiased for q(z). The paper's own form gives one of the others, at random, a smaller part. This is
    the mean over which one that is. So it varies less, and is exact if the batch is the data set. The log of either is
    biased downwards.

    Under replicas a batch is a replica's share of it, and N is that of all. Sample weights are what examples count for
    in the sum and the mean over j, in proportion; an example of weight 0 counts for nothing.

    Args:
        beta: weight of the total correlation, a number >= 0, a `keras.Variable` of one, or a schedule: see `ELBO`.
        alpha: weight of the mutual information, the same. 0 leaves it out, which the paper tries, too.
        gamma: weight of the KL of the units, the same.
        estimator: "weighted" or "stratified".
        num_examples: N, a positive integer. Default: as many as `fit` was last given, which a file keeps. Inside a
            larger model, whose `fit` is another's, it has to be given. So it has for a stream, and where
            `steps_per_epoch` is not the number of a data set's batches. A data set that repeats its examples counts
            them as often. Models that share one objective share its N, that of the last `fit`.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: an argument is not as above; when built, if the density of one unit of posterior or prior is not
            known; when terms are asked for, if N is not known.
    """

    alpha = Hyperparameter()
    beta = Hyperparameter()
    gamma = Hyperparameter()

    def __init__(
        self,
        beta: float | LearningRateSchedule | keras.Variable = 6.0,
        alpha: float | LearningRateSchedule | keras.Variable = 1.0,
        gamma: float | LearningRateSchedule | keras.Variable = 1.0,
        estimator: str = "weighted",
        num_examples: int | None = None,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(estimator, num_examples, num_samples, **kwargs)
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    @property
    def term_weights(self) -> dict[str, Any]:
        return {
            "nll": 1.0,
            "mutual_information": self.alpha,
            "total_correlation": self.beta,
            "dimension_kl": self.gamma,
        }

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, **self.decomposed(forward)}
