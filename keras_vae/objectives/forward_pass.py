"""The results of one pass through a VAE, which are all that an objective's terms may look at."""

import dataclasses
import functools
from typing import Any

from keras import ops

from keras_vae.backend import tfd
from keras_vae.estimates import point_estimate

OF_PARTS = "nll/"  # how the names begin of what is reported of a part of x


@dataclasses.dataclass(frozen=True)
class ForwardPass:
    """One pass of a batch of B examples through a VAE, with S draws of the latent for each.

        forward = vae.forward_pass(x, seed=np.array([0, 1], "int32"))
        forward.log_likelihood  # [S, B], nats

    Attributes:
        x: what the likelihood scores, `[B, *event]`.
        posterior: q(z|x), batch `[B]`.
        z: draws from the posterior, `[S, B, *latent]`.
        likelihood: p(x|z), batch `[S, B]`.
        prior: p(z), batch `[]`.
        fits: what sigmas were fitted to x, `keras_vae.layers.fitted.Fit`s: in training, under an `Optimal()` scale.
    """

    x: Any
    posterior: tfd.Distribution
    z: Any
    likelihood: tfd.Distribution
    prior: tfd.Distribution
    fits: tuple = ()

    @functools.cached_property
    def log_likelihood(self) -> Any:
        """log p(x|z), `[S, B]`, nats. An objective asks for it here: it is computed once."""
        if not self.log_likelihood_by_part:
            return self.likelihood.log_prob(self.x)
        return sum(self.log_likelihood_by_part.values())

    @functools.cached_property
    def log_likelihood_by_part(self) -> dict[str, Any]:
        """log p(x_k|z) of each part of x, by name, `[S, B]`, nats; empty where the likelihood is not of several."""
        by_part = getattr(self.likelihood, "log_prob_by_part", None)
        return {} if by_part is None else by_part(self.x)

    def reported(self) -> dict[str, Any]:
        """What is reported beside the terms, and not minimised: `{"nll/age": [B]}`, each part's share of `nll`; nats.

        A share is the mean over the draws of -log p(x_k|z). They add up to the `nll` of an `ELBO`.
        """
        return {f"{OF_PARTS}{name}": -ops.mean(each, axis=0) for name, each in self.log_likelihood_by_part.items()}

    def reconstruction(self) -> Any:
        """The decoder's point estimate of x, `[B, *event]`: the mean over the draws of p(x|z)'s means.

        For categories it is the likeliest, by the mean over the draws of their probabilities.
        """
        return point_estimate(self.likelihood, average=lambda value: ops.mean(value, axis=0))

    def commit_fits(self) -> None:
        """Takes the fitted sigmas into their scales' estimates."""
        for fit in self.fits:
            fit.commit()
