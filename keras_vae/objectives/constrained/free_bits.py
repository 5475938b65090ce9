"""The evidence lower bound with a KL that costs nothing below a level."""

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_choice, is_integer
from keras_vae.layers.units import closed_kl_of_units, has_independent_units, kl_of_units_by_draws
from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import batch_mean, of_each_example
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class FreeBits(Objective):
    """The evidence lower bound with free bits: equation 15 of Kingma et al. (arXiv 1606.04934).

        loss = E_q(z|x)[ -log p(x|z) ] + beta sum_j max(level, E_batch[ KL(q(z_j|x) || p(z_j)) ]),    nats per example

    The latents are in groups j. Below the level a group's KL has no gradient. So it costs nothing to use the group,
    and training does not begin by switching it off.

        objective = keras_vae.objectives.FreeBits(level=0.1, groups="unit")
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    The term `free_bits` is the sum over the groups. The metric `kl` is the KL itself, as `nll` and `elbo` are what
    they are everywhere.

    A KL of a group is the sum of those of its units. For that, the units have to be independent under posterior and
    prior. Those of Gaussians are exact; else they are the mean of log q(u|x) - log p(u) over the draws. With
    groups="all" the KL is that of `ELBO`, of every posterior and prior.

    Sample weights weigh the mean over the batch: an example of weight 0 counts for nothing. On several devices the mean
    is of a replica's share of the batch. So there the maximum is over fewer examples, and the loss a little higher.

    Args:
        level: the paper's lambda, in nats a group: a number >= 0, a `keras.Variable` of one, or a schedule, as `ELBO`
            has its beta. One bit is log 2 = 0.693 nats.
        groups: which latents share a level. "unit": each has its own. "all": all are one group. An integer: groups of
            so many latents that follow one another. A list of lists of integers: the latents of each group, by their
            number in the flattened latent. It has each latent once.
        over: "batch", the default and the equation, for the maximum with a group's mean over the batch; or "example"
            for the maximum with each example's own KL. That does not depend on the batch. But it cuts off the gradient
            for each example that is below the level, where the paper lets examples make up for one another.
        beta: the weight of the sum, of the same kinds as the level.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `level` or `beta` is negative or not finite, at some step, or neither number nor schedule; `groups`
            or `over` is not as above; `num_samples` is not a positive integer; when built, the groups do not fit the
            latent, or its units are not known to be independent.
    """

    level = Hyperparameter()
    beta = Hyperparameter()

    def __init__(
        self,
        level: float | LearningRateSchedule | keras.Variable,
        groups: str | int | list[list[int]] = "unit",
        over: str = "batch",
        beta: float | LearningRateSchedule | keras.Variable = 1.0,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(num_samples, **kwargs)
        self.level = level
        self.groups = checked_groups(type(self).__name__, groups)
        self.over = check_choice(type(self).__name__, "over", over, ("batch", "example"))
        self.beta = beta

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "free_bits": self.beta}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        kl = self.kl_of_groups(forward)  # [B, groups]
        level = ops.cast(forward.value_of(self.level), kl.dtype)
        if self.over == "example":
            free_bits = ops.sum(ops.maximum(level, kl), axis=-1)
        else:
            mean = batch_mean(kl, forward)
            free_bits = of_each_example(ops.sum(ops.maximum(level, mean)), forward)
        return {"nll": forward.nll, "free_bits": free_bits}

    def kl_of_groups(self, forward: ForwardPass) -> Any:
        """The KL of each group, `[B, groups]`, nats."""
        dtype, posterior, prior = forward.nll.dtype, forward.posterior, forward.prior
        if self.groups == "all":
            return ops.expand_dims(ops.cast(forward.kl, dtype), -1)
        for name, distribution in (("posterior", posterior), ("prior", prior)):
            if not has_independent_units(distribution, forward.z):
                raise ValueError(
                    f"{type(self).__name__}: expected a {name} of independent latents, such as that of keras_vae."
                    f"layers.IndependentNormal, with groups={self.groups!r}; received "
                    f"{type(distribution).__name__.strip('_')}, whose density is not known to be a product of "
                    f'theirs. Take groups="all", one level for the whole KL.'
                )
        units = closed_kl_of_units(posterior, prior)
        if units is None:
            units = kl_of_units_by_draws(posterior, prior, forward.z)
        size = int(np.prod(forward.z.shape[2:]))
        return self._in_groups(ops.reshape(ops.cast(units, dtype), (-1, size)), size)

    def _in_groups(self, units, size):
        """Sums over the units of each group, `[B, groups]`, of numbers `[B, units]`."""
        if self.groups == "unit":
            return units
        if isinstance(self.groups, int):
            if size % self.groups:
                self._refuse(size, "a number that divides that of the latents")
            return ops.sum(ops.reshape(units, (-1, size // self.groups, self.groups)), axis=-1)
        if sorted(unit for group in self.groups for unit in group) != list(range(size)):
            self._refuse(size, f"lists that have each of the latents 0 to {size - 1} once")
        return ops.stack([ops.sum(ops.take(units, group, axis=-1), axis=-1) for group in self.groups], axis=-1)

    def _refuse(self, size, expected):
        raise ValueError(
            f"{type(self).__name__}: expected `groups` to be {expected}, of which there are {size}; received: "
            f"{self.groups!r}"
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups, "over": self.over}


def checked_groups(owner, groups):
    """`groups` as a word, an int, or a list of lists of ints.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(groups, str) and groups in ("unit", "all"):
        return groups
    if is_integer(groups) and groups >= 1:
        return int(groups)
    if isinstance(groups, (list, tuple)) and groups:
        lists = [list(group) if isinstance(group, (list, tuple, range)) else [] for group in groups]
        if all(group and all(is_integer(unit) for unit in group) for group in lists):
            return [[int(unit) for unit in group] for group in lists]
    raise ValueError(
        f'{owner}: expected `groups` to be "unit", "all", an integer >= 1, or a list of lists of integers; received: '
        f"{groups!r}"
    )
