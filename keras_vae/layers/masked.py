"""Missing entries: a likelihood that scores only what was observed."""

import dataclasses

import keras

from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.wrapped import Wrapped


class MaskedDistribution(Wrapped):
    """`distribution`, for which NaN in x stands for an entry that was not observed.

    Args:
        distribution: one of independent elements, which has `log_prob_of_observed`.
    """

    def __init__(self, distribution, name="MaskedDistribution"):
        super().__init__(distribution, dict(locals()), name)

    @property
    def support(self):
        """What values are scored: NaN too."""
        return dataclasses.replace(self.distribution.support, may_be_missing=True)

    def _log_prob(self, x):
        return self.distribution.log_prob_of_observed(x)


@keras.saving.register_keras_serializable("keras_vae")
class Masked(keras.layers.Layer):
    """A likelihood for data with missing entries, which are NaN: only what was observed is scored.

        log p(x_observed) = sum over the observed i of log p(x_i)

    Exact, and not an imputation: with independent elements the others' factors integrate to 1. The encoder needs
    numbers: let it start with `keras_vae.layers.Impute()`. An example of which nothing was observed is refused.

    Args:
        likelihood: a distribution layer of independent elements, such as `IndependentNormal(13)`; it is kept as
            `.likelihood`, whose `.scale` is the one to read.

    Returns:
        When called on `[B, *features]`: the likelihood's distribution, whose `log_prob` skips NaN.

    Raises:
        ValueError: `likelihood` is no layer of independent elements: when called, if that shows only then.
    """

    def __init__(self, likelihood, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(likelihood, DistributionLayer):
            raise ValueError(
                "Masked: expected `likelihood` to be a layer of independent elements, such as keras_vae.layers."
                f"IndependentNormal(13); received: {likelihood!r}. Of a Joint, mask each part; a DistributionLambda "
                "does not say what its elements are."
            )
        self.likelihood = likelihood

    @property
    def event_shape(self):
        """Shape of one draw."""
        return self.likelihood.event_shape

    def build(self, input_shape):
        if not self.likelihood.built:
            self.likelihood.build(input_shape)

    def call(self, features, training=None):
        distribution = self.likelihood(features, training=training)
        if not hasattr(distribution, "log_prob_of_observed"):
            raise ValueError(
                "Masked: expected a likelihood of independent elements, of which some can be left out; received "
                f"{type(self.likelihood).__name__}"
            )
        return MaskedDistribution(distribution)

    def compute_output_spec(self, features, training=None):
        if not self.built:
            self.build(features.shape)
        return self.likelihood.compute_output_spec(features)

    def learned(self):
        """As of the likelihood."""
        return getattr(self.likelihood, "learned", dict)()

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.event_shape)

    def get_config(self):
        return {**super().get_config(), "likelihood": keras.saving.serialize_keras_object(self.likelihood)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "likelihood": keras.saving.deserialize_keras_object(config["likelihood"])})
