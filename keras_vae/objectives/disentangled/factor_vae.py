"""FactorVAE."""

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae import backend
from keras_vae.objectives.bounds.elbo import ELBO
from keras_vae.objectives.disentangled.permute import permute
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class FactorVAE(ELBO):
    """The ELBO with a penalty on the total correlation of the latents: Kim & Mnih (arXiv 1802.05983), equation 2.

        -ELBO + gamma TC,    TC = KL(q(z) || prod_d q(z_d)),    q(z) = E_p(x)[ q(z|x) ],    in nats per example

    A discriminator D tells z from latents whose units are made independent. Equation 3 estimates the total correlation
    by it. The discriminator learns from its cross entropy, at the same time (algorithm 2):

        total_correlation = log D(z) / (1 - D(z))
        discriminator     = -1/2 (log D(z) + log(1 - D(z'))),    z'_d = z_d of another example

    One backward pass serves both. The first term reaches the encoder, and not the discriminator's weights; the second
    one reaches those alone. Give them an optimizer of their own:

        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=keras_vae.objectives.FactorVAE(gamma=35.0))
        adam = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
        vae.compile(keras_vae.optimizers.Routed(keras.optimizers.Adam(1e-4), {vae.objective: adam}))

    Both terms are reported, outside training too. A trained discriminator's `total_correlation` is an estimate of the
    aggregate posterior's. It lags behind the encoder while that trains. A `discriminator` of log 2 = 0.693 tells
    nothing apart.

    Each unit is permuted over the batch by itself. The paper permutes a second batch; the same one needs no more data.
    Under `tf.distribute` it is permuted over a replica's share. With several draws an example, each set of draws is
    permuted by itself, and terms are means over the draws. Latents that are maps are taken as vectors.

    A batch of one example permutes to itself. There `discriminator` is least at log 2, where nothing is told apart. As
    the last batch of an epoch it does no harm. From batches of one alone the discriminator learns nothing.

    Sample weights weigh both terms as they do the others. Each z'_d is then drawn in proportion to them, by systematic
    resampling, which is a permutation where weights are equal. So an example of weight 0 counts for nothing; but for
    what a BatchNormalization in the discriminator makes of it.

    Args:
        gamma: weight of the total correlation; as `beta`, a number >= 0, a `keras.Variable` of one, or a schedule.
        discriminator: a Keras model from latents `[N, D]`, D units in all, to logits `[N, 2]` of "z" and of "permuted",
            or to the log odds of "z", `[N, 1]`, their difference. Default: the paper's, 6 layers of 1000 leaky ReLUs
            and 2 logits. It is built, saved and loaded with the VAE.
        beta, num_samples, kl, gradient: as of `ELBO`.

    Raises:
        ValueError: `gamma` is negative, not finite, or neither number nor schedule; `discriminator` is no Keras layer,
            or gives another shape; `fit` on a single example, which nothing can be permuted over; or as of `ELBO`.
    """

    gamma = Hyperparameter()

    def __init__(
        self,
        gamma: float | LearningRateSchedule | keras.Variable = 10.0,
        discriminator: keras.Layer | None = None,
        beta: float | LearningRateSchedule | keras.Variable = 1.0,
        num_samples: int = 1,
        kl: str = "auto",
        gradient: str = "plain",
        **kwargs,
    ):
        super().__init__(beta, num_samples, kl, gradient, **kwargs)
        discriminator = of_the_paper() if discriminator is None else discriminator
        if not isinstance(discriminator, keras.Layer):
            raise ValueError(
                f"{type(self).__name__}: expected `discriminator` to be a Keras model of latents, such as "
                f"keras.Sequential([...]), or None; received: {discriminator!r}"
            )
        self.gamma = gamma
        self.discriminator = discriminator

    @property
    def term_weights(self) -> dict[str, Any]:
        return {**super().term_weights, "total_correlation": self.gamma, "discriminator": 1.0}

    def prepare(self, num_examples: int | None) -> None:
        if num_examples == 1:
            raise ValueError(
                f"{type(self).__name__}: expected several examples, over which latents are permuted; received one"
            )

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        z = ops.reshape(forward.z, (*ops.shape(forward.z)[:2], math.prod(forward.z.shape[2:])))  # [S, B, D]
        held = ops.stop_gradient(z)
        permuted = permute(held, forward.noise_seed, forward.sample_weight)

        def score(z):
            return ops.cast(self.log_odds(z, forward.training), forward.log_likelihood.dtype)

        of_z, slope = backend.value_and_slope(score, held)  # [S, B], [S, B, D]
        correlation = backend.with_slope(z, of_z, slope)  # the encoder's gradient, and none of the discriminator's
        entropy = 0.5 * (ops.softplus(-of_z) + ops.softplus(score(permuted)))
        terms = {"total_correlation": correlation, "discriminator": entropy}
        return {**super().__call__(forward), **{name: ops.mean(term, axis=0) for name, term in terms.items()}}

    def log_odds(self, z: Any, training: bool = False) -> Any:
        """The discriminator's log odds that z are latents and not permuted ones: `[*batch, D]` to `[*batch]`."""
        batch = ops.shape(z)[:-1]
        logits = self.discriminator(ops.reshape(z, (-1, z.shape[-1])), training=training)
        if len(getattr(logits, "shape", ())) != 2 or logits.shape[-1] not in (1, 2):
            raise ValueError(
                f"{type(self).__name__}: expected `discriminator` to give logits [N, 2], or log odds [N, 1], of "
                f"latents [N, {z.shape[-1]}]; received shape {getattr(logits, 'shape', None)}. Let it end in "
                "keras.layers.Dense(2), without a softmax."
            )
        difference = logits[:, 0] - logits[:, 1] if logits.shape[-1] == 2 else logits[:, 0]
        return ops.reshape(difference, batch)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "discriminator": keras.saving.serialize_keras_object(self.discriminator)}


def of_the_paper():
    """The discriminator of the paper's appendix A: 6 layers of 1000 leaky ReLUs, and 2 logits."""
    hidden = [each for _ in range(6) for each in (keras.layers.Dense(1000), keras.layers.LeakyReLU(0.2))]
    return keras.Sequential([*hidden, keras.layers.Dense(2)])
