"""Schedules that Keras lacks, for the constants of an objective: a warm-up, and one that is repeated."""

from keras_vae.schedules.cyclical import Cyclical
from keras_vae.schedules.linear_warmup import LinearWarmup

__all__ = ["Cyclical", "LinearWarmup"]


def __dir__():
    return __all__
