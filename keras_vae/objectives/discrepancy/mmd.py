"""The maximum mean discrepancy between the draws of a batch and the prior."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import in_rows, of_each_example, shares_of
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.kernels import InverseMultiquadratic, Kernel, check_kernel


class OfKernel(Objective):
    """An objective with a term `mmd`: how far the draws of a batch are from the prior, by a kernel.

    Args:
        kernel: a `keras_vae.objectives.kernels` object.
        num_samples: as of `Objective`.
    """

    def __init__(self, kernel, num_samples=1, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.kernel = check_kernel(type(self).__name__, kernel)

    def mmd_of(self, forward):
        """The discrepancy as a term, `[B]`."""
        draws, batch = ops.shape(forward.z)[:2]
        z = in_rows(forward.z, 2)
        of_prior = forward.prior.sample(draws * batch, seed=forward.noise_seed)  # one for each draw
        of_prior = ops.reshape(ops.cast(of_prior, z.dtype), (draws, batch, z.shape[-1]))
        shares = ops.cast(shares_of(forward), z.dtype)
        return of_each_example(ops.mean(squared_mmd(self.kernel, z, of_prior, shares)), forward)

    def get_config(self):
        return {**super().get_config(), "kernel": keras.saving.serialize_keras_object(self.kernel)}


@keras.saving.register_keras_serializable("keras_vae")
class MMD(OfKernel):
    """The maximum mean discrepancy of the aggregate posterior q(z) from the prior: a penalty, to be added in a `Sum`.

        MMD^2 = E[ k(z, z') ] + E[ k(t, t') ] - 2 E[ k(z, t) ],    z, z' ~ q(z),    t, t' ~ p(z)

    It is 0 where q(z) = p(z), for a kernel that is characteristic, as the library's are (Gretton et al., "A kernel
    two-sample test", JMLR 13, 2012, lemma 6). The estimate is the unbiased U-statistic of algorithm 2 of the WAE's
    paper (arXiv 1711.01558). A batch is compared with as many draws from the prior, and no draw with itself. So it
    may be negative. With several draws of z an example, it is the mean over them.

        objectives = keras_vae.objectives
        objective = objectives.Sum(objectives.ELBO(), objectives.MMD(100.0, objectives.kernels.RBF()))
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    It is a statistic of a batch, reported as `mmd`, and 0 in a batch of one. Under replicas it is that of a replica's
    share, whose expectation is the same. Sample weights weight the pairs, of posterior and prior alike. An example of
    weight 0 counts for nothing; one of weight 2 is no pair with itself, as it would be if it came twice.

    Args:
        weight: of the term, a number >= 0, a `keras.Variable` of one, or a schedule: see `ELBO`.
        kernel: a `keras_vae.objectives.kernels` object. Default: `InverseMultiquadratic()`.
        num_samples: how many draws of the latent an example. In a `Sum` the first objective's counts.

    Raises:
        ValueError: `weight` or `kernel` is not as above; `num_samples` is not a positive integer.
    """

    weight = Hyperparameter()

    def __init__(
        self,
        weight: float | LearningRateSchedule | keras.Variable = 1.0,
        kernel: Kernel | None = None,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(InverseMultiquadratic() if kernel is None else kernel, num_samples, **kwargs)
        self.weight = weight

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"mmd": self.weight}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"mmd": self.mmd_of(forward)}


def squared_mmd(kernel, one, other, shares):
    """The U-statistic of MMD^2 of two samples of B latents each, `[...]`; 0 of samples of one.

    Args:
        kernel: a function of latents `[..., N, D]` and `[..., M, D]` to all pairs, `[..., N, M]`.
        one, other: `[..., B, D]`.
        shares: what each latent counts for in its sample, `[B]`, 1 in all.
    """
    pairs = shares[:, None] * shares
    unlike = pairs * (1.0 - ops.eye(ops.shape(shares)[0], dtype=pairs.dtype))  # no latent with itself
    total = ops.sum(unlike)
    unlike = unlike / ops.where(total > 0.0, total, 1.0)
    within = ops.sum(unlike * (kernel(one, one) + kernel(other, other)), axis=(-2, -1))
    between = ops.sum(pairs * kernel(one, other), axis=(-2, -1))
    return ops.where(total > 0.0, within - 2.0 * between, ops.zeros_like(between))
