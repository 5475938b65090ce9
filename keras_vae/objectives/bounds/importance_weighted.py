"""The base class of the objectives that are a function of the importance weights."""

from typing import Any

from keras import ops

from keras_vae.objectives.base import Objective
from keras_vae.objectives.forward_pass import ForwardPass


class ImportanceWeighted(Objective):
    """A bound on log p(x), or an estimate of it, from log weights `log p(x|z) + log p(z) - log q(z|x)`.

    What is minimised is its negation, the term `negative_bound`. A subclass defines `bound`.

        @keras.saving.register_keras_serializable("my_package")
        class Largest(keras_vae.objectives.ImportanceWeighted):
            def bound(self, log_weights, forward):
                return keras.ops.max(log_weights, axis=0)


        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=Largest(num_samples=5))

    Args:
        num_samples: how many draws of the latent an example.

    Raises:
        ValueError: `num_samples` is not a positive integer.
    """

    @property
    def term_weights(self) -> dict[str, Any]:
        return {"negative_bound": 1.0}

    def bound(self, log_weights: Any, forward: ForwardPass) -> Any:
        """The bound, `[B]`, nats.

        Args:
            log_weights: `[S, B]`, nats.
            forward: the pass that they are of.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `bound`")

    def log_weights_of(self, forward: ForwardPass) -> Any:
        """The log weights, `[S, B]`, nats, with the gradient that is wanted of them."""
        return forward.log_weights

    def __call__(self, forward: ForwardPass) -> dict[str, Any]:
        return {"negative_bound": -self.bound(self.log_weights_of(forward), forward)}


def log_mean_exp(log_weights):
    """log 1/S sum_s exp(w_s), `[..., B]`, of `[S, ..., B]`."""
    return ops.logsumexp(log_weights, axis=0) - ops.log(ops.cast(ops.shape(log_weights)[0], log_weights.dtype))
