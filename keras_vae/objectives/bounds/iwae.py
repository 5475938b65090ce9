"""The importance-weighted bound."""

from typing import Any

import keras

from keras_vae.checks import check_choice
from keras_vae.objectives.bounds.dreg import tapped
from keras_vae.objectives.bounds.importance_weighted import ImportanceWeighted, log_mean_exp
from keras_vae.objectives.forward_pass import ForwardPass, Tap


@keras.saving.register_keras_serializable("keras_vae")
class IWAE(ImportanceWeighted):
    """The importance-weighted bound: equation 8 of Burda, Grosse & Salakhutdinov (arXiv 1509.00519).

        L_S = E[ log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x) ],    z_s ~ q(z|x),    in nats per example

    It lies between the ELBO and log p(x), and grows with S (theorem 1). With S = 1 it is the ELBO, by draws.

        objective = keras_vae.objectives.IWAE(num_samples=50, gradient="dreg")
        vae = keras_vae.VAE(vae.encoder, vae.decoder, objective=objective)

    The plain gradient is unbiased. Its signal-to-noise ratio for the encoder falls with S as 1/sqrt(S) (Rainforth et
    al., arXiv 1802.04537, theorem 1). The doubly reparameterized one is unbiased too. Its ratio grows with S. It holds
    for every posterior, and is the same pass with one decoding. Its variance is lower near the optimum, and may be
    higher far from it. A term beside it, in a `Sum`, must not depend on log p(x|z).

    The metrics `nll`, `kl` and `elbo` are those of the ELBO with the same draws; `negative_bound` is -L_S.

    Args:
        num_samples: S, how many draws of the latent an example.
        gradient: "plain", or "dreg" for that of Tucker, Lawson, Gu & Maddison ("Doubly reparameterized gradient
            estimators", arXiv 1810.04152). `ELBO`'s "stl" is biased here for S > 1, and is refused.

    Raises:
        ValueError: `num_samples` is not a positive integer; `gradient` is not as above.
    """

    def __init__(self, num_samples: int = 5, gradient: str = "plain", **kwargs):
        super().__init__(num_samples, **kwargs)
        self.gradient = check_choice(type(self).__name__, "gradient", gradient, ("plain", "dreg"))

    def tap(self, z: Any) -> Tap:
        return tapped(z) if self.gradient == "dreg" else super().tap(z)

    def bound(self, log_weights: Any, forward: ForwardPass) -> Any:
        return log_mean_exp(log_weights)

    def log_weights_of(self, forward: ForwardPass) -> Any:
        return forward.pathwise_log_weights if self.gradient == "dreg" else super().log_weights_of(forward)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gradient": self.gradient}
