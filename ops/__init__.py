"""Loss ops: tensors in, nats per example out; and the smooth maximum that keeps a variance above its floor.

Each is one XLA-compiled program forward and one backward, with its own gradient; see `fused.py` for how one is made.
"""

from keras_vae.ops.bernoulli import bernoulli_nll
from keras_vae.ops.continuous_bernoulli import continuous_bernoulli_nll
from keras_vae.ops.discretized_logistic import discretized_logistic_nll
from keras_vae.ops.gaussian import gaussian_kl, gaussian_nll
from keras_vae.ops.log_add_exp import log_add_exp
from keras_vae.ops.logistic import logistic_nll
from keras_vae.ops.negative_binomial import negative_binomial_nll
from keras_vae.ops.poisson import poisson_nll

__all__ = [
    "bernoulli_nll",
    "continuous_bernoulli_nll",
    "discretized_logistic_nll",
    "gaussian_kl",
    "gaussian_nll",
    "log_add_exp",
    "logistic_nll",
    "negative_binomial_nll",
    "poisson_nll",
]


def __dir__():
    return __all__
