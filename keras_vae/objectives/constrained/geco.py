"""A beta that is learned, so that a level of reconstruction is held."""

import math
from typing import Any

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_fraction, check_positive
from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import batch_mean
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter


@keras.saving.register_keras_serializable("keras_vae")
class GECO(Objective):
    """The least KL at which a reconstruction is as good as is asked: algorithm 1 of Rezende & Viola (arXiv 1810.00597).

        loss = E_q(z|x)[ -log p(x|z) ] + beta KL(q(z|x) || p(z)),    in nats per example

        log beta <- log beta + speed (level - average of nll),    at each step of training

    You say how large `nll` may be; beta is found. While `nll` is above the level, beta falls, and the KL may grow.
    While it is below, beta rises. The paper minimises KL + lambda (nll - level), and lambda grows by the exponential of
    the average of nll - level. That is this loss over beta, and lambda = 1 / beta. The level is one that the networks
    can reach: otherwise beta goes to a bound.

        objective = keras_vae.objectives.GECO(level=20.0)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)
        vae.compile("adam")
        logs = vae.fit(x, epochs=1).history
        logs["beta"]  # what it has come to, beside `nll`, `kl` and `elbo`

    For a Gaussian decoder of a fixed sigma a level is a mean squared error, m, of an x of D numbers.

        level = D / 2 (log(2 pi sigma^2) + m / sigma^2)

    A sigma that is learned is a second way to a level. It shrinks while that lowers `nll`, so a level stands for a
    smaller error.

    A step moves the average first, then beta, and is weighed by the new beta. Nothing but training moves them:
    `evaluate` takes beta as it is. They are saved with the model. On several devices they are the mean of what the
    replicas' shares of the batch make of them, weighted by the shares' sizes. Without sample weights that is what one
    device has. Sample weights weigh the batch's mean. A batch whose mean is not finite, or whose weights are all 0,
    moves nothing.

    Args:
        level: the `nll` to hold, in nats per example: a number of either sign, a `keras.Variable` of one, or a
            schedule, as `ELBO` has its beta. A density may exceed 1, and `nll` be negative.
        speed: by how much log beta moves in a step for each nat of distance, of the same kinds, >= 0. Smaller ones are
            slower, and swing less. As a first guess take one over the nats that `nll` falls by in training, over 10.
        initial: the beta of the first step.
        bounds: the least and the largest beta.
        momentum: of the moving average, in [0, 1): the share of what was before, the paper's alpha. The average is
            divided by the weight that its terms have had, and is unbiased from the first step on.
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `level` or `speed` is not finite, at some step, or neither number nor schedule; `speed` is negative;
            `bounds` are not two positive numbers in order, or `initial` is not between them; `momentum` is not in
            [0, 1); `num_samples` is not a positive integer.
    """

    level = Hyperparameter(least=-math.inf)
    speed = Hyperparameter()

    def __init__(
        self,
        level: float | LearningRateSchedule | keras.Variable,
        speed: float | LearningRateSchedule | keras.Variable = 1e-3,
        initial: float = 1.0,
        bounds: tuple[float, float] = (1e-6, 1e6),
        momentum: float = 0.99,
        num_samples: int = 1,
        **kwargs,
    ):
        super().__init__(num_samples, **kwargs)
        self.level = level
        self.speed = speed
        owner = type(self).__name__
        self.bounds = checked_bounds(owner, bounds)
        self.initial = check_positive(owner, "initial", initial)
        if not self.bounds[0] <= initial <= self.bounds[1]:
            raise ValueError(f"{owner}: expected `initial` to be within `bounds`, {bounds!r}; received: {initial!r}")
        self.momentum = check_fraction(owner, "momentum", momentum)

    def build(self, dtype: str = "float32") -> None:
        super().build(dtype)
        state = {"shape": (), "dtype": dtype, "trainable": False, "autocast": False}
        # Its logarithm, which is moved by sums: so the replicas' mean is one device's.
        start = keras.initializers.Constant(math.log(self.initial))
        self.log_beta = self.add_weight(initializer=start, name="log_beta", **state)
        self.moving_nll = self.add_weight(initializer="zeros", name="moving_nll", **state)
        self.moving_weight = self.add_weight(initializer="zeros", name="moving_weight", **state)

    @property
    def beta(self) -> Any:
        """The weight of the KL as it has been learned, a scalar tensor; a number before the model is built."""
        return ops.exp(self.log_beta) if self.built else self.initial

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"nll": 1.0, "kl": self.beta}

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"nll": forward.nll, "kl": forward.kl}

    def commit(self, forward: ForwardPass) -> None:
        """In training, moves the average of nll, and by it beta."""
        if not forward.training:
            return
        dtype = self.log_beta.dtype
        nll = ops.stop_gradient(ops.cast(batch_mean(forward.nll, forward), dtype))
        counts = ops.isfinite(nll)
        if forward.sample_weight is not None:
            counts = ops.logical_and(counts, ops.sum(forward.sample_weight) > 0)
        share = ops.cast(counts, dtype) * (1.0 - self.momentum)
        nll = ops.where(counts, nll, 0.0)
        average = self.moving_nll + share * (nll - self.moving_nll)
        weight = self.moving_weight + share * (1.0 - self.moving_weight)
        distance = ops.cast(forward.value_of(self.level), dtype) - average / ops.where(weight > 0, weight, 1.0)
        moved = self.log_beta + ops.cast(forward.value_of(self.speed), dtype) * distance
        moved = ops.clip(moved, *(math.log(bound) for bound in self.bounds))
        self.log_beta.assign(ops.where(counts, moved, self.log_beta))
        self.moving_nll.assign(average)
        self.moving_weight.assign(weight)

    def learned_values(self) -> dict[str, Any]:
        return {"beta": self.beta}

    def get_config(self) -> dict[str, Any]:
        choices = {"initial": self.initial, "bounds": list(self.bounds), "momentum": self.momentum}
        return {**super().get_config(), **choices}


def checked_bounds(owner, bounds):
    """`bounds` as a tuple of two positive numbers, the first of which is the smaller.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        raise ValueError(f"{owner}: expected `bounds` to be two numbers; received: {bounds!r}")
    low, high = (float(check_positive(owner, "bounds", bound)) for bound in bounds)
    if low >= high:
        raise ValueError(f"{owner}: expected `bounds` to be two numbers, the smaller one first; received: {bounds!r}")
    return low, high
