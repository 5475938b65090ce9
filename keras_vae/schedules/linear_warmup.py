"""A schedule that grows linearly and then stays."""

import keras
from keras.optimizers.schedules import LearningRateSchedule

from keras_vae.checks import check_finite, check_integer
from keras_vae.reprs import repr_of
from keras_vae.schedules.progress import LAST_STEP, between, progress


@keras.saving.register_keras_serializable("keras_vae")
class LinearWarmup(LearningRateSchedule):
    """A constant that goes from one number to another in a straight line, and stays there.

        value(t) = start + (end - start) min(max(t - delay, 0) / steps, 1)

    As the weight of the KL it is the warm-up of Bowman et al. (arXiv 1511.06349) and Sonderby et al. (arXiv
    1602.02282): a decoder learns to use z before the KL counts in full.

    A step t is an iteration of the optimizer, from 0, as in Keras's own schedules: a batch, and no epoch. An epoch of
    N examples in batches of B has ceil(N / B) steps.

        steps_per_epoch = -(-len(x) // 32)
        warm_up = keras_vae.schedules.LinearWarmup(steps=10 * steps_per_epoch)
        objective = keras_vae.objectives.ELBO(beta=warm_up)
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    Args:
        steps: how many steps it takes from `start` to `end`.
        start, end: the numbers, of which either may be the larger.
        delay: how many steps the value is `start` before.

    Raises:
        ValueError: `steps` is not a positive integer; `delay` is not an integer >= 0; both together are more than
            2^31 - 1; `start` or `end` is not a finite number.
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0, delay: int = 0):
        super().__init__()
        owner = type(self).__name__
        self.steps = check_integer(owner, "steps", steps)
        self.start = check_finite(owner, "start", start)
        self.end = check_finite(owner, "end", end)
        self.delay = check_integer(owner, "delay", delay, least=0)
        if self.delay + self.steps > LAST_STEP:
            raise ValueError(
                f"{owner}: expected a warm-up that is over by step {LAST_STEP}, 2^31 - 1, where a schedule is asked "
                f"for its final value; received {self.delay} + {self.steps} steps. Take fewer."
            )

    def __call__(self, step):
        return between(self.start, self.end, progress(step, self.delay, self.steps))

    def get_config(self):
        return {"steps": self.steps, "start": self.start, "end": self.end, "delay": self.delay}

    def __repr__(self):
        return repr_of(self)
