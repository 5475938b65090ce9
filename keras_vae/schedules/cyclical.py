"""A schedule that warms up again and again."""

import keras
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_finite, check_integer, is_number
from keras_vae.reprs import repr_of
from keras_vae.schedules.progress import LAST_STEP, between, in_steps, progress


@keras.saving.register_keras_serializable("keras_vae")
class Cyclical(LearningRateSchedule):
    """A constant that goes in a straight line from one number to another, several times over, and then stays there.

        value(t) = start + (end - start) min(tau / ratio, 1),    tau = (t mod period) / period,    t < period num_cycles

    This is the cyclical annealing of Fu et al. (arXiv 1903.10145, section 4), with their linear function. Each cycle
    begins at `start`, from what the networks have learned. After the last one the value is `end`, so that it is what
    counts outside training.

    A step t is an iteration of the optimizer, from 0, as in Keras's own schedules: a batch, and no epoch. An epoch of
    N examples in batches of B has ceil(N / B) steps. To fill a training of T steps with 4 cycles, take a `period` of
    T // 4.

        steps = 40 * -(-len(x) // 32)  # of 40 epochs
        beta = keras_vae.schedules.Cyclical(period=steps // 4, num_cycles=4)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=keras_vae.objectives.ELBO(beta=beta))

    Args:
        period: how many steps a cycle has.
        num_cycles: how many cycles there are, the paper's M.
        ratio: the share of a cycle in which the value moves, the paper's R, in (0, 1]. In the rest it is `end`.
        start, end: the numbers, of which either may be the larger.

    Raises:
        ValueError: `period` or `num_cycles` is not a positive integer; the cycles have more than 2^31 - 1 steps;
            `ratio` is not in (0, 1]; `start` or `end` is not a finite number.
    """

    def __init__(self, period: int, num_cycles: int = 4, ratio: float = 0.5, start: float = 0.0, end: float = 1.0):
        super().__init__()
        owner = type(self).__name__
        self.period = check_integer(owner, "period", period)
        self.num_cycles = check_integer(owner, "num_cycles", num_cycles)
        if self.period * self.num_cycles > LAST_STEP:
            raise ValueError(
                f"{owner}: expected cycles that are over by step {LAST_STEP}, 2^31 - 1, where a schedule is asked for "
                f"its final value; received {num_cycles} cycles of {period} steps. Take fewer, or shorter ones."
            )
        if not is_number(ratio) or not 0 < ratio <= 1:
            raise ValueError(f"{owner}: expected `ratio` to be a number in (0, 1]; received: {ratio!r}")
        self.ratio = float(ratio)
        self.start = check_finite(owner, "start", start)
        self.end = check_finite(owner, "end", end)

    def __call__(self, step):
        step = in_steps(step)
        share = progress(ops.mod(step, self.period), 0, self.ratio * self.period)
        is_over = ops.greater_equal(step, self.period * self.num_cycles)
        return between(self.start, self.end, ops.where(is_over, ops.ones_like(share), share))

    def get_config(self):
        numbers = {"period": self.period, "num_cycles": self.num_cycles, "ratio": self.ratio}
        return {**numbers, "start": self.start, "end": self.end}

    def __repr__(self):
        return repr_of(self)
