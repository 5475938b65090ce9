"""The results of one pass through a VAE, which are all that an objective's terms may look at."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_vae import backend
from keras_vae.backend import tfd
from keras_vae.estimates import point_estimate
from keras_vae.objectives.kl import kl_divergence
from keras_vae.objectives.latent_densities import LatentDensities
from keras_vae.objectives.values import value_at

OF_PARTS = "nll/"  # how the names begin of what is reported of a part of x


class Tap(NamedTuple):
    """The latents as the decoder is given them, `[S, B, *latent]`: where an objective may reach into their gradient.

    Attributes:
        z: the latents, equal to the draws.
        probe: zeros `[S, B]` that the log weights have added, or None: see `keras_vae.objectives.bounds.dreg`.
    """

    z: Any
    probe: Any = None


@dataclasses.dataclass(frozen=True)
class ForwardPass:
    """One pass of a batch of B examples through a VAE, with S draws of the latent for each.

    Densities and what is made of them are computed when they are asked for, and once.

        forward = vae.forward_pass(x, seed=np.array([0, 1], "int32"))
        forward.log_weights  # [S, B], nats

    Attributes:
        x: what the likelihood scores, `[B, *event]`.
        posterior: q(z|x), batch `[B]`.
        z: draws from the posterior, `[S, B, *latent]`.
        likelihood: p(x|z), batch `[S, B]`.
        prior: p(z), batch `[]`.
        fits: what sigmas were fitted to x, `keras_vae.layers.fitted.Fit`s: in training, under an `Optimal()` scale.
        decode: the function of z that gave the likelihood.
        seed: of the pass, int32 `[2]`.
        tap: z as the decoder was given it. By default as it was drawn.
        training: whether this is a step that trains.
        step: the optimizer's iteration of a step that trains; else None, and schedules have their final values.
        sample_weight: of each example, `[B]`; None where all count alike.
    """

    x: Any
    posterior: tfd.Distribution
    z: Any
    likelihood: tfd.Distribution
    prior: tfd.Distribution
    fits: tuple = ()
    decode: Callable | None = None
    seed: Any = None
    tap: Tap | None = None
    training: bool = False
    step: Any = None
    sample_weight: Any = None

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

    @property
    def log_prior(self) -> Any:
        """log p(z), `[S, B]`, nats."""
        return self._densities.log_prior

    @property
    def log_posterior(self) -> Any:
        """log q(z|x), `[S, B]`, nats."""
        return self._densities.log_posterior

    @property
    def pathwise_log_posterior(self) -> Any:
        """log q(z|x), `[S, B]`, nats, whose gradient reaches the encoder through z alone.

        What is left out is the score, the gradient through q's parameters with z held. Its mean over z ~ q is 0
        (Roeder, Wu & Duvenaud, arXiv 1703.09194). It holds for every posterior, also where networks are part of its
        density.
        """
        return self._densities.pathwise_log_posterior

    @property
    def log_weights(self) -> Any:
        """log p(x|z) + log p(z) - log q(z|x), the log of the importance weights, `[S, B]`, nats."""
        return self._weighted(self._tapped_densities.log_posterior)

    @property
    def pathwise_log_weights(self) -> Any:
        """`log_weights`, with `pathwise_log_posterior` in place of log q(z|x)."""
        return self._weighted(self._tapped_densities.pathwise_log_posterior)

    @functools.cached_property
    def nll(self) -> Any:
        """The mean over the draws of -log p(x|z), `[B]`, nats."""
        return -ops.mean(self.log_likelihood, axis=0)

    @functools.cached_property
    def kl(self) -> Any:
        """KL(q(z|x) || p(z)), `[B]`, nats: in closed form where TFP has one registered, or else by the draws."""
        return kl_divergence(self)

    def reported(self, terms: dict[str, Any]) -> dict[str, Any]:
        """An objective's terms, and what is reported whatever is minimised; `[B]`, nats.

        That is `nll` and `kl`, where the terms have none; and `nll/age`, each part's share of `nll`. A share is the
        mean over the draws of -log p(x_k|z). They add up to `nll`.
        """
        always = {name: terms[name] if name in terms else getattr(self, name) for name in ("nll", "kl")}
        by_part = self.log_likelihood_by_part.items()
        shares = {f"{OF_PARTS}{name}": -ops.mean(each, axis=0) for name, each in by_part}
        return {**always, **shares, **terms}

    def at(self, z: Any) -> "ForwardPass":
        """The same pass at other latents, `[S, B, *latent]`, which are decoded."""
        return dataclasses.replace(self, z=z, tap=None, fits=(), likelihood=self.decode(z))

    def value_of(self, constant: Any) -> Any:
        """The value of an objective's constant at this step: of a schedule, outside training, its final one."""
        return value_at(constant, self.step)

    @property
    def noise_seed(self) -> Any:
        """A seed, int32 `[2]`, for noise of an objective's own; on each replica another."""
        # A replica's seed first: a stream of the pass's, and then the replica, would share seeds with others' draws.
        return backend.seed_for(backend.fold_in(self.seed, backend.first_row()), "objective")

    def reconstruction(self) -> Any:
        """The decoder's point estimate of x, `[B, *event]`: the mean over the draws of p(x|z)'s means.

        For categories it is the likeliest, by the mean over the draws of their probabilities.
        """
        return point_estimate(self.likelihood, average=lambda value: ops.mean(value, axis=0))

    def commit_fits(self) -> None:
        """Takes the fitted sigmas into their scales' estimates."""
        for fit in self.fits:
            fit.commit()

    @functools.cached_property
    def _densities(self):
        return self._densities_at(self.z)

    @functools.cached_property
    def _tapped_densities(self):
        """Those of the latents as the decoder was given them, whose gradient an objective may have changed."""
        is_tapped = self.tap is not None and self.tap.z is not self.z
        return self._densities_at(self.tap.z) if is_tapped else self._densities

    def _densities_at(self, z):
        return LatentDensities(z, self.posterior, self.prior, self.log_likelihood.dtype)

    def _weighted(self, log_posterior):
        log_weights = self.log_likelihood + self._tapped_densities.log_prior - log_posterior
        if self.tap is None or self.tap.probe is None:
            return log_weights
        return log_weights + ops.cast(self.tap.probe, log_weights.dtype)
