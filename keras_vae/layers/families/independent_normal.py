"""The Gaussian with independent coordinates, a VAE's usual posterior and the likelihood of real-valued data."""

import keras
from keras import ops

from keras_vae.backend import tfd, tfp
from keras_vae.data.support import Support
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.location_scale import LocationScaleLayer
from keras_vae.ops import gaussian_kl, gaussian_nll
from keras_vae.ops.noise import standard_normal_rows


class IndependentNormalDistribution(IndependentDistribution):
    """Independent Gaussians, whose `log_prob` and KL are the fused ops.

    Args:
        loc: mu, `[..., *event]`.
        log_variance: log sigma^2, broadcastable with `loc`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("loc", "log_variance")
    support = Support("IndependentNormal", "real numbers")
    draws_by_row = True  # a row's draw does not depend on how many there are: see `ops.noise`

    def __init__(self, loc, log_variance, event_ndims, name="IndependentNormalDistribution"):
        elements = tfd.Normal(loc, ops.exp(0.5 * log_variance))
        super().__init__(elements, event_ndims, name, loc=loc, log_variance=log_variance)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -gaussian_nll(x, self.loc, self.log_variance, event_ndims=event_ndims)

    def best_log_scale(self, x, mean):
        """The log sigma at which x is likeliest: sigma^2 = mean (x - mu)^2. `mean` averages what shares sigma."""
        return 0.5 * ops.log(mean(ops.square(x - self.loc)))

    def _sample_n(self, n, seed=None):
        shape = ops.shape(self.loc + self.log_variance)
        batch, event = shape[: len(shape) - self.event_ndims], shape[len(shape) - self.event_ndims :]
        noise = standard_normal_rows(n, batch, event, tfp.random.sanitize_seed(seed), self.dtype.name)
        return self.loc + ops.exp(0.5 * self.log_variance) * noise


def check_same_event(q, p):
    """Raises ValueError unless the two sides of a KL are over the same event."""
    if not q.event_shape.is_compatible_with(p.event_shape):
        raise ValueError(
            f"Expected the same event shape on both sides of a KL; received: {q.event_shape}, {p.event_shape}"
        )


@tfd.RegisterKL(IndependentNormalDistribution, IndependentNormalDistribution)
def _kl(q, p, name=None):
    check_same_event(q, p)
    return gaussian_kl(q.loc, q.log_variance, p.loc, p.log_variance, event_ndims=q.event_ndims)


@tfd.RegisterKL(tfd.MultivariateNormalLinearOperator, IndependentNormalDistribution)
def _kl_of_multivariate(q, p, name=None):
    # Of TFP's own multivariate normals, full or diagonal: by TFP's closed form, which knows them only among each other.
    return q.kl_divergence(tfd.MultivariateNormalDiag(p.mean(), p.stddev()))


@keras.saving.register_keras_serializable("keras_vae")
class IndependentNormal(LocationScaleLayer):
    """A Gaussian with independent coordinates, N(mu, diag(sigma^2)).

        log p(x) = -1/2 sum_i [ log(2 pi) + log sigma_i^2 + (x_i - mu_i)^2 / sigma_i^2 ]

    It is the diagonal posterior of an encoder and the likelihood of real-valued data: equation 9 and appendix C.2 of
    Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114). With a fixed sigma it is the squared error.
    See `LocationScaleLayer` for the arguments, and for where mu and sigma come from.

        encoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentNormal(4)])
        posterior = encoder(x)
        posterior.mean(), posterior.stddev(), posterior.sample(seed=0)  # each [64, 4]

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: as `LocationScaleLayer`.
    """

    family = IndependentNormalDistribution

    def with_scale(self, location, log_scale):
        return IndependentNormalDistribution(location, 2.0 * log_scale, event_ndims=len(self.event_shape))
