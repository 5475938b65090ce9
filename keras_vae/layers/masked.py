"""A likelihood for data with missing entries, which scores only what was observed."""

import dataclasses

import keras
from keras import ops

from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.delegate import Delegate
from keras_vae.layers.elements import log_prob_of_elements
from keras_vae.layers.likelihood_layer import WrapperLayer


class MaskedDistribution(Delegate):
    """A distribution that takes NaN in x for an entry that was not observed, and leaves it out of log p.

    Args:
        distribution: one of independent elements, which has `log_prob_of_observed`.
    """

    def __init__(self, distribution, name="MaskedDistribution"):
        super().__init__(distribution, dict(locals()), name)

    @property
    def support(self):
        """The values that are scored, a `Support`, with NaN among them."""
        return dataclasses.replace(self.distribution.support, may_be_missing=True)

    def fitted_to(self, x):
        if not hasattr(self.distribution, "fitted_to_observed"):
            return self, []
        distribution, fits = self.distribution.fitted_to_observed(x)
        return MaskedDistribution(distribution), fits

    def log_prob_of_elements(self, x):
        """log p of each element of x, `[..., *batch, *event]`; 0 for what was not observed."""
        observed = ops.logical_not(ops.isnan(x))
        something = ops.where(observed, x, self.support.valid_value)
        distribution = self.fitted_to(x)[0].distribution
        return ops.where(observed, log_prob_of_elements(distribution, something), 0.0)

    def _log_prob(self, x):
        return self.distribution.log_prob_of_observed(x)


@keras.saving.register_keras_serializable("keras_vae")
class Masked(WrapperLayer):
    """A likelihood for data with missing entries, which are NaN: only what was observed is scored.

        log p(x_observed) = sum over the observed i of log p(x_i)

    This is exact, and not an imputation: with independent elements the others' factors integrate to 1. The encoder
    needs numbers: let it start with `keras_vae.layers.Impute()`. An example of which nothing was observed has log p 0;
    `fit` warns of it.

        posterior = keras_vae.layers.IndependentNormal(4)
        encoder = keras.Sequential([keras_vae.layers.Impute(), layers.Dense(64, "relu"), posterior])
        likelihood = keras_vae.layers.Masked(keras_vae.layers.IndependentNormal(13))
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])
        decoder(np.zeros((64, 4))).log_prob(np.where(x > 2.0, np.nan, x))  # [64], nats, finite

    Args:
        likelihood: a distribution layer of independent elements, such as `IndependentNormal(13)`; it is kept as
            `.likelihood`, whose `.scale` is the one to read.

    Returns:
        When called on `[B, *features]`: the likelihood's distribution, whose `log_prob` skips NaN.

    Raises:
        ValueError: `likelihood` is no layer of independent elements: when called, if that shows only then.
    """

    def __init__(self, likelihood, **kwargs):
        if not isinstance(likelihood, DistributionLayer):
            raise ValueError(
                "Masked: expected `likelihood` to be a layer of independent elements, such as keras_vae.layers."
                f"IndependentNormal(13); received: {likelihood!r}. Mask each part of a Joint; a DistributionLambda "
                "does not say what its elements are."
            )
        super().__init__(likelihood, **kwargs)

    @property
    def counted_levels(self):
        """Those of the layer within."""
        return self.likelihood.counted_levels

    def start_at(self, moments):
        self.likelihood.start_at(moments)  # of what was observed

    def wrap(self, distribution):
        if not hasattr(distribution, "log_prob_of_observed"):
            raise ValueError(
                "Masked: expected a likelihood of independent elements, of which some can be left out; received "
                f"{type(self.likelihood).__name__}"
            )
        if getattr(distribution, "support", None) is None:
            raise ValueError(
                "Masked: expected a distribution that says its `support`, a keras_vae.layers.Support, of which a value "
                f"stands in for what is missing; received {type(distribution).__name__}"
            )
        return MaskedDistribution(distribution)
