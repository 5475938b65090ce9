"""Independent Bernoulli variables, the likelihood of binary data."""

import keras

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.links import logit, share
from keras_vae.ops import bernoulli_nll


class IndependentBernoulliDistribution(IndependentDistribution):
    """Independent Bernoulli variables, whose `log_prob` is the fused op.

    Args:
        logits: log(p / (1 - p)), `[..., *event]`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("logits",)
    support = Support("IndependentBernoulli", "x in [0, 1]", low=0.0, high=1.0)

    def __init__(self, logits, event_ndims, name="IndependentBernoulliDistribution"):
        super().__init__(tfd.Bernoulli(logits=logits, dtype=logits.dtype), event_ndims, name, logits=logits)

    def log_prob_of_elements(self, x, event_ndims=0):
        return -bernoulli_nll(x, self.logits, event_ndims=event_ndims)


@keras.saving.register_keras_serializable("keras_vae")
class IndependentBernoulli(DistributionLayer):
    """Independent Bernoulli variables: the likelihood of binary data, such as black-and-white pixels.

        log p(x) = sum_i [ x_i log p_i + (1 - x_i) log(1 - p_i) ]

    The formula is that of appendix C.1 of Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114). The
    logits, log(p / (1 - p)), are linear in the features. Data between 0 and 1 is scored as the expectation over a
    random binarisation with the grey levels as probabilities. That is the usual binary cross-entropy, and not a density
    of grey levels.

        decoder = keras.Sequential([layers.Dense(64, "relu"), keras_vae.layers.IndependentBernoulli((8, 8, 1))])
        decoder(np.zeros((2, 4))).mean()  # the probability of a one, [2, 8, 8, 1]

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as the logits. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers.
    """

    def marginal(self, moments):
        return [logit(share(moments))]

    def distribution(self, logits):
        return IndependentBernoulliDistribution(logits, event_ndims=len(self.event_shape))
