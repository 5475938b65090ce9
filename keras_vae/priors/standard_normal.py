"""The standard normal prior of the AEVB paper."""

import keras
from keras import ops

from keras_vae.layers.families.independent_normal import IndependentNormalDistribution
from keras_vae.priors.base import Prior


@keras.saving.register_keras_serializable("keras_vae")
class StandardNormal(Prior):
    """The prior p(z) = N(0, I), as in section 3 of Kingma & Welling (arXiv 1312.6114).

        prior = keras_vae.priors.StandardNormal(4)
        prior().sample(3, seed=0)  # [3, 4]

    Args:
        event_shape: shape of one latent: an integer, or integers. None, the default, takes the posterior's.

    Returns:
        When called: a `tfd.Independent` of batch `[]` and the latent's event shape, float32 (float64 under a float64
        policy).
    """

    def distribution(self):
        zeros = ops.zeros(self.latent_shape, dtype=keras.backend.result_type(self.compute_dtype, "float32"))
        return IndependentNormalDistribution(zeros, ops.zeros_like(zeros), event_ndims=len(self.latent_shape))
