"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n), estimated from a batch, and what the KL is made of by it."""

import types
from typing import Any

import keras
from keras import ops

from keras_vae import backend
from keras_vae.checks import check_choice, check_integer
from keras_vae.layers.elements import DependentElements
from keras_vae.layers.units import log_prob_of_units, log_prob_with_units
from keras_vae.objectives.base import Objective
from keras_vae.objectives.batch import shares_of

ESTIMATORS = ("weighted", "stratified")


class KLDecomposition(Objective):
    """The base class of objectives whose terms are parts of the KL, told apart by the aggregate posterior.

        KL(q(z|x) || p(z)) = I(x; z) + KL(q(z) || prod_u q(z_u)) + sum_u KL(q(z_u) || p(z_u)),    means over x

    Equation 2 of Chen et al. (arXiv 1802.04942), for a prior of independent units.

    Args:
        estimator, num_examples, num_samples: as of `keras_vae.objectives.BetaTC`.
    """

    def __init__(self, estimator="weighted", num_examples=None, num_samples=1, **kwargs):
        super().__init__(num_samples, **kwargs)
        self.estimator = check_choice(type(self).__name__, "estimator", estimator, ESTIMATORS)
        if num_examples is not None:
            check_integer(type(self).__name__, "num_examples", num_examples)
        self.num_examples = num_examples
        # What a program that is traced cannot read of the variable; and where Keras does not look into it.
        self.known = types.SimpleNamespace(size=num_examples or 0)

    def build(self, dtype="float32"):
        super().build(dtype)
        # A float: replicas and XLA carry it as they do all state. 0 is for what is not known.
        self.size = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.known.size),
            dtype=dtype,
            trainable=False,
            autocast=False,
            name="num_examples",
        )

    def prepare(self, num_examples):
        if self.num_examples is None and num_examples is not None:
            self.known.size = num_examples
            if self.built:
                self.size.assign(num_examples)
        self.check_size()

    def check_size(self):
        """Raises ValueError unless it is known how many examples the data set holds."""
        if not self.known.size:
            name = type(self).__name__
            raise ValueError(
                f"{name}: expected to know how many examples the data set holds, by which its terms are estimated. "
                "`fit` takes it from arrays, and from data sets of a known number of batches of a known size, as "
                "batch(size, drop_remainder=True) gives them, if an epoch is all of them; received neither yet. Give "
                f"it, where x holds the data: {name}(num_examples=len(x))."
            )

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if self.num_examples is None:
            self.known.size = int(ops.convert_to_numpy(self.size))
        else:
            self.size.assign(self.num_examples)

    def decomposed(self, forward):
        """The parts of the KL, `{name: [B]}`, nats: means over the draws of

        mutual_information   log q(z|x) - log q(z)
        total_correlation    log q(z) - sum_u log q(z_u)
        dimension_kl         sum_u [ log q(z_u) - log p(z_u) ]
        """
        if not backend.is_specifying():  # before `fit` can tell
            self.check_size()
        z, posterior = forward.z, forward.posterior
        try:
            # [S, i, j] and [S, i, j, *latent]: the density of the draw for x_i under the posterior of x_j.
            log_density, log_density_of_units = log_prob_with_units(posterior, ops.expand_dims(z, 2))
            log_prior_of_units = log_prob_of_units(forward.prior, z)
        except DependentElements as error:
            raise ValueError(
                f"{type(self).__name__}: expected a posterior and a prior whose units have densities of their own: "
                "independent units, or Gaussian ones; received a posterior "
                f"{type(posterior).__name__.strip('_')} and a prior {type(forward.prior).__name__.strip('_')}, of one "
                "of which only the density of all units together is known."
            ) from error
        units = tuple(range(3, len(log_density_of_units.shape)))
        log_weights = ops.cast(self.log_weights(forward), log_density.dtype)  # [i, j]
        own = ops.diagonal(log_density, axis1=1, axis2=2)
        together = ops.logsumexp(log_density + log_weights, axis=2)
        log_weights = ops.reshape(log_weights, (*ops.shape(log_weights), *[1] * len(units)))
        of_units = ops.logsumexp(log_density_of_units + log_weights, axis=2)
        event = tuple(range(2, len(of_units.shape)))
        apart = ops.sum(of_units, axis=event)
        terms = {
            "mutual_information": own - together,
            "total_correlation": together - apart,
            "dimension_kl": apart - ops.sum(log_prior_of_units, axis=event),
        }
        dtype = forward.log_likelihood.dtype
        return {name: ops.cast(ops.mean(value, axis=0), dtype) for name, value in terms.items()}

    def log_weights(self, forward):
        """The log of what the posterior of x_j counts for in q(z) at the draw for x_i, `[i, j]`: see `BetaTC`.

        A data set is as large as the batch, at least.
        """
        shares = shares_of(forward)
        size = ops.cast(ops.convert_to_tensor(self.size), shares.dtype)
        size = ops.maximum(size, ops.cast(ops.shape(shares)[0], shares.dtype))
        own = ops.eye(ops.shape(shares)[0], dtype=shares.dtype)
        if self.estimator == "weighted":
            return ops.log(shares + ops.zeros_like(own)) - ops.log(size)
        others = shares * (1.0 - own)
        total = ops.sum(others, axis=1, keepdims=True)
        has_others = total > 0.0  # but for a batch of one
        of_own = ops.where(has_others, 1.0 / size, 1.0)  # as it stands: 1 - (1 - 1/N) would lose it in rounding
        of_others = ops.where(has_others, (1.0 - 1.0 / size) / ops.where(has_others, total, 1.0), 0.0)
        weights = own * of_own + others * of_others
        return ops.log(weights)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "estimator": self.estimator, "num_examples": self.num_examples}
