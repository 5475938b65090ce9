"""Distribution layers, which turn features into a TFP distribution. Each comes last in an encoder or a decoder."""

import keras

from keras_vae.data.support import Support
from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.distribution_lambda import DistributionLambda
from keras_vae.layers.families.discretized_logistic import DiscretizedLogistic
from keras_vae.layers.families.discretized_logistic_mixture import DiscretizedLogisticMixture
from keras_vae.layers.families.independent_bernoulli import IndependentBernoulli
from keras_vae.layers.families.independent_beta import IndependentBeta
from keras_vae.layers.families.independent_categorical import IndependentCategorical
from keras_vae.layers.families.independent_continuous_bernoulli import IndependentContinuousBernoulli
from keras_vae.layers.families.independent_laplace import IndependentLaplace
from keras_vae.layers.families.independent_logistic import IndependentLogistic
from keras_vae.layers.families.independent_negative_binomial import IndependentNegativeBinomial
from keras_vae.layers.families.independent_normal import IndependentNormal
from keras_vae.layers.families.independent_poisson import IndependentPoisson
from keras_vae.layers.families.independent_student_t import IndependentStudentT
from keras_vae.layers.families.multivariate_normal_low_rank import MultivariateNormalLowRank
from keras_vae.layers.families.multivariate_normal_tril import MultivariateNormalTriL
from keras_vae.layers.families.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial
from keras_vae.layers.impute import Impute
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.joint import Joint
from keras_vae.layers.likelihood_layer import LikelihoodLayer, WrapperLayer
from keras_vae.layers.location_scale import LocationScaleLayer
from keras_vae.layers.masked import Masked
from keras_vae.layers.mean import Mean

__all__ = [
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "DistributionLambda",
    "DistributionLayer",
    "Impute",
    "IndependentBernoulli",
    "IndependentBeta",
    "IndependentCategorical",
    "IndependentContinuousBernoulli",
    "IndependentDistribution",
    "IndependentLaplace",
    "IndependentLogistic",
    "IndependentNegativeBinomial",
    "IndependentNormal",
    "IndependentPoisson",
    "IndependentStudentT",
    "Joint",
    "LikelihoodLayer",
    "LocationScaleLayer",
    "Masked",
    "Mean",
    "MultivariateNormalLowRank",
    "MultivariateNormalTriL",
    "Support",
    "WrapperLayer",
    "ZeroInflatedNegativeBinomial",
]

# By which files of before 0.1.0 know some of them.
FORMER_NAMES = {
    "keras_vae>Beta": IndependentBeta,
    "keras_vae>Categorical": IndependentCategorical,
    "keras_vae>ContinuousBernoulli": IndependentContinuousBernoulli,
    "keras_vae>NegativeBinomial": IndependentNegativeBinomial,
    "keras_vae>Poisson": IndependentPoisson,
}
keras.saving.get_custom_objects().update(FORMER_NAMES)


def __dir__():
    return __all__
