"""Independent Bernoulli variables: the decoder of binary data."""

import keras

from keras_vae.backend import tfd, tfp
from keras_vae.layers.base import DistributionLayer
from keras_vae.ops import bernoulli_nll


class FusedBernoulli(tfd.Independent):
    """`tfd.Independent(tfd.Bernoulli(...))`, given by its logits, whose `log_prob` is the fused op.

    Args:
        logits: log(p / (1 - p)), `[..., *event]`.
        event_ndims: how many trailing axes make up one event.
    """

    def __init__(self, logits, event_ndims, name="FusedBernoulli"):
        parameters = dict(locals())
        self._logits, self._event_ndims = logits, event_ndims
        super().__init__(
            tfd.Bernoulli(logits=logits, dtype=logits.dtype), reinterpreted_batch_ndims=event_ndims, name=name
        )
        self._parameters = self._no_dependency(parameters)

    @property
    def logits(self):
        """log(p / (1 - p)), `[..., *event]`."""
        return self._logits

    @property
    def event_ndims(self):
        """How many trailing axes make up one event."""
        return self._event_ndims

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {"logits": tfp.util.ParameterProperties(event_ndims=lambda self: self.event_ndims)}

    def _log_prob(self, x):
        return -bernoulli_nll(x, self.logits, event_ndims=self.event_ndims)

    @staticmethod
    def support(dtype):
        """The least and the largest value that data of a dtype may hold."""
        return 0.0, 1.0

    @staticmethod
    def support_error(low, high):
        """What is wrong with data from `low` to `high`, in words."""
        advice = "" if low < 0 else " Pixels in 0..255? Scale them: x.astype('float32') / 255."
        return f"IndependentBernoulli scores x in [0, 1]; received values from {low} to {high}.{advice}"


@keras.saving.register_keras_serializable("keras_vae")
class IndependentBernoulli(DistributionLayer):
    """Independent Bernoulli variables: the likelihood of binary data, such as black-and-white pixels.

        log p(x) = sum_i [ x_i log p_i + (1 - x_i) log(1 - p_i) ]

    Appendix C.1 of Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114). The logits, log(p / (1 - p)),
    are linear in the features. Data between 0 and 1 is scored as the expectation over a random binarisation with the
    grey levels as probabilities; that is the usual binary cross-entropy, and not a density of grey levels.

    Args:
        event_shape: shape of one draw: an integer, or integers; `()` for a scalar.
        projection: False to take the features as the logits. See `DistributionLayer`.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `event_shape` holds anything but positive integers.
    """

    def distribution(self, logits):
        return FusedBernoulli(logits, event_ndims=len(self.event_shape))
