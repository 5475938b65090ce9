"""The densities of latents under the posterior and the prior of a pass, each computed once."""

import dataclasses
import functools
from typing import Any

from keras import ops

from keras_vae import backend
from keras_vae.backend import tfd


@dataclasses.dataclass(frozen=True)
class LatentDensities:
    """log p(z), log q(z|x), and log q(z|x) with its pathwise gradient alone; `[S, B]`, nats.

    Attributes:
        z: `[S, B, *latent]`.
        posterior: q(z|x), batch `[B]`.
        prior: p(z), batch `[]`.
        dtype: of the densities.
    """

    z: Any
    posterior: tfd.Distribution
    prior: tfd.Distribution
    dtype: str

    @functools.cached_property
    def log_prior(self) -> Any:
        """log p(z)."""
        return ops.cast(self.prior.log_prob(self.z), self.dtype)

    @functools.cached_property
    def log_posterior(self) -> Any:
        """log q(z|x)."""
        return ops.cast(self.posterior.log_prob(self.z), self.dtype)

    @functools.cached_property
    def pathwise_log_posterior(self) -> Any:
        """log q(z|x), whose gradient reaches the encoder through z alone: see `ForwardPass.pathwise_log_posterior`."""
        value, slope = backend.value_and_slope(self.posterior.log_prob, ops.stop_gradient(self.z))
        return ops.cast(backend.with_slope(self.z, value, slope), self.dtype)
