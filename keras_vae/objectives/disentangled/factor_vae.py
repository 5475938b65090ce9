"""FactorVAE."""

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae import backend
from keras_vae.objectives.bounds.elbo import ELBO
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.ops.noise import standard_normal


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
            or gives another shape; training on single examples, which nothing can be permuted over; or as of `ELBO`.
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
                "FactorVAE: expected `discriminator` to be a Keras model of latents, such as keras.Sequential([...]), "
                f"or None; received: {discriminator!r}"
            )
        self.gamma = gamma
        self.discriminator = discriminator
        self.largest_batch = 0  # that was trained on, of those whose size was known

    @property
    def term_weights(self) -> dict[str, Any]:
        return {**super().term_weights, "total_correlation": self.gamma, "discriminator": 1.0}

    def prepare(self, num_examples: int | None) -> None:
        if num_examples == 1:
            raise single_examples()

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        z = ops.reshape(forward.z, (*ops.shape(forward.z)[:2], math.prod(forward.z.shape[2:])))  # [S, B, D]
        if forward.training:
            self.check_batch(z.shape[1])
        held = ops.stop_gradient(z)
        permuted = permute(held, forward.noise_seed, forward.sample_weight)

        def log_odds(z):  # log D(z) / (1 - D(z))
            return ops.cast(self.log_odds(z, forward.training), forward.log_likelihood.dtype)

        of_z, slope = backend.value_and_slope(log_odds, held)  # [S, B], [S, B, D]
        along_z = ops.sum(ops.stop_gradient(slope) * (z - held), axis=-1)  # 0, and the encoder's gradient
        correlation = ops.stop_gradient(of_z) + ops.cast(along_z, of_z.dtype)
        entropy = 0.5 * (ops.softplus(-of_z) + ops.softplus(log_odds(permuted)))
        terms = {"total_correlation": correlation, "discriminator": entropy}
        return {**super().__call__(forward), **{name: ops.mean(term, axis=0) for name, term in terms.items()}}

    def log_odds(self, z: Any, training: bool = False) -> Any:
        """The discriminator's log odds that z are latents and not permuted ones: `[*batch, D]` to `[*batch]`."""
        batch = ops.shape(z)[:-1]
        logits = self.discriminator(ops.reshape(z, (-1, z.shape[-1])), training=training)
        if len(getattr(logits, "shape", ())) != 2 or logits.shape[-1] not in (1, 2):
            raise ValueError(
                "FactorVAE: expected `discriminator` to give logits [N, 2], or log odds [N, 1], of latents "
                f"[N, {z.shape[-1]}]; received shape {getattr(logits, 'shape', None)}. Let it end in "
                "keras.layers.Dense(2), without a softmax."
            )
        log_odds = logits[:, 0] - logits[:, 1] if logits.shape[-1] == 2 else logits[:, 0]
        return ops.reshape(log_odds, batch)

    def check_batch(self, size):
        """Raises ValueError if there has been no batch of more than one example, and this is none."""
        self.largest_batch = max(self.largest_batch, size or 0)
        if self.largest_batch == 1:
            raise single_examples()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "discriminator": keras.saving.serialize_keras_object(self.discriminator)}


def single_examples():
    """The ValueError of training on one example at a time."""
    return ValueError(
        "FactorVAE: expected batches of several examples, over which latents are permuted; received one example at a "
        "time. Take a larger batch_size."
    )


def of_the_paper():
    """The discriminator of the paper's appendix A: 6 layers of 1000 leaky ReLUs, and 2 logits."""
    hidden = [each for _ in range(6) for each in (keras.layers.Dense(1000), keras.layers.LeakyReLU(0.2))]
    return keras.Sequential([*hidden, keras.layers.Dense(2)])


def permute(z, seed, sample_weight=None):
    """Latents whose units are independent: each is permuted over the batch, or resampled by the examples' weights.

    Args:
        z: `[S, B, D]`.
        seed: int32 `[2]`.
        sample_weight: `[B]`, or None where all weigh alike.
    """
    draws, size, units = ops.shape(z)
    index = ops.argsort(standard_normal((draws, size, units), backend.fold_in(seed, 0)), axis=1)
    if sample_weight is not None:
        # Points at equal distances, in a random order, fall on the examples' weights laid end to end.
        ends = ops.cumsum(ops.cast(sample_weight, "float32"))
        start = standard_normal((draws, 1, units), backend.fold_in(seed, 1))
        start = 0.5 + 0.5 * ops.erf(start / math.sqrt(2.0))  # uniform on [0, 1]
        points = (ops.cast(index, "float32") + start) / ops.cast(size, "float32")
        points = ops.minimum(points, 1.0 - 1e-6) * ends[-1]  # an end is another example's, if it is one's
        index = ops.searchsorted(ends, ops.reshape(points, (-1,)), side="right")
        index = ops.minimum(ops.reshape(index, (draws, size, units)), size - 1)
    return ops.take_along_axis(z, index, axis=1)
