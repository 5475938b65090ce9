"""The results of one pass through a VAE, which are all that an objective's terms may look at."""

import dataclasses
from typing import Any

from keras import ops

from keras_vae.backend import tfd
from keras_vae.estimates import point_estimate


@dataclasses.dataclass(frozen=True)
class ForwardPass:
    """One pass of a batch of B examples through a VAE, with S draws of the latent for each.

        forward = vae.forward_pass(x, seed=np.array([0, 1], "int32"))
        forward.likelihood.log_prob(forward.x)  # [S, B], nats

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

    def reconstruction(self) -> Any:
        """The decoder's point estimate of x, `[B, *event]`: the mean over the draws of p(x|z)'s means.

        Of categories it is the likeliest, by the mean over the draws of their probabilities.
        """
        return point_estimate(self.likelihood, average=lambda value: ops.mean(value, axis=0))

    def commit_fits(self) -> None:
        """Takes the fitted sigmas into their scales' estimates."""
        for fit in self.fits:
            fit.commit()
