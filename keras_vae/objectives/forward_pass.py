"""What one pass through a VAE has produced: all that a term may look at."""

import dataclasses
from typing import Any

from keras_vae.backend import tfd


@dataclasses.dataclass(frozen=True)
class ForwardPass:
    """One pass of a batch of B examples through a VAE, with S draws of the latent for each.

    Attributes:
        x: what the likelihood scores, `[B, *event]`.
        posterior: q(z|x), batch `[B]`.
        z: draws from the posterior, `[S, B, *latent]`.
        likelihood: p(x|z), batch `[S, B]`.
        prior: p(z), batch `[]`.
    """

    x: Any
    posterior: tfd.Distribution
    z: Any
    likelihood: tfd.Distribution
    prior: tfd.Distribution
