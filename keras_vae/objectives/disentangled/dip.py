"""The disentangled inferred prior: latents whose covariance over the data is the identity."""

from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_choice
from keras_vae.layers.units import covariance_of_units
from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import in_rows, of_each_example, shares_of
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class DIP(Objective):
    """How far the covariance of the latents over the data is from the identity: a penalty, to be added in a `Sum`.

        lambda_od sum_(u != v) C_uv^2 + lambda_d sum_u (C_uu - 1)^2
        I:  C = Cov_x( E_q(z|x)[z] )                               equation 6 of Kumar et al. (arXiv 1711.00848)
        II: C = Cov_x( E_q(z|x)[z] ) + E_x[ Cov_q(z|x)[z] ]        equation 7: the covariance of the draws

    Both sums are terms, `off_diagonal` and `diagonal`. No draws are needed: the moments are exact, those of the batch.

        objectives = keras_vae.objectives
        objective = objectives.Sum(objectives.ELBO(beta=2.0), objectives.DIP(10.0, 10.0, kind="II"))
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    The covariance is the batch's, which divides by B: so C of a batch of one is 0, or its own covariance. Its squares
    are biased upwards in a small batch. Under replicas it is that of a replica's share. Sample weights weight the
    moments; an example of weight 2 counts as two.

    Args:
        lambda_od: weight of what is off the diagonal, a number >= 0, a `keras.Variable` of one, or a schedule: see
            `ELBO`.
        lambda_d: weight of the diagonal, the same. The paper has 10 lambda_od for "I", lambda_od for "II".
        kind: "I" or "II".
        num_samples: how many draws of the latent an example. In a `Sum` the first objective's counts.

    Raises:
        ValueError: an argument is not as above; when built, if the posterior's mean, or for "II" its covariance, is not
            known in closed form.
    """

    lambda_od = Hyperparameter()
    lambda_d = Hyperparameter()

    def __init__(
        self,
        lambda_od: float | LearningRateSchedule | keras.Variable = 10.0,
        lambda_d: float | LearningRateSchedule | keras.Variable = 100.0,
        kind: str = "I",
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(num_samples, **kwargs)
        self.lambda_od, self.lambda_d = lambda_od, lambda_d
        self.kind = check_choice(type(self).__name__, "kind", kind, ("I", "II"))

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"off_diagonal": self.lambda_od, "diagonal": self.lambda_d}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        covariance = self.covariance_of(forward)
        apart = 1.0 - ops.eye(covariance.shape[0], dtype=covariance.dtype)
        terms = {
            "off_diagonal": ops.sum(ops.square(covariance * apart)),
            "diagonal": ops.sum(ops.square(ops.diagonal(covariance) - 1.0)),
        }
        return {name: of_each_example(value, forward) for name, value in terms.items()}

    def covariance_of(self, forward: ForwardPass) -> Any:
        """C, `[D, D]`."""
        posterior = forward.posterior
        try:
            means = in_rows(posterior.mean(), 1)
            within = covariance_of_units(posterior) if self.kind == "II" else None
        except NotImplementedError as error:
            moment = "mean and covariance" if self.kind == "II" else "mean"
            raise ValueError(
                f"{type(self).__name__}: expected a posterior whose {moment} is known in closed form; received "
                f"{type(posterior).__name__.strip('_')}"
            ) from error
        shares = ops.cast(shares_of(forward), means.dtype)[:, None]
        from_mean = means - ops.sum(shares * means, axis=0)
        covariance = ops.matmul(ops.transpose(shares * from_mean), from_mean)
        return covariance if within is None else covariance + ops.sum(shares[..., None] * within, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}
