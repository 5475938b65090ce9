"""Distribution layers: features in, a TFP distribution out. Each comes last in an encoder or decoder."""

from keras_vae.layers.base import DistributionLayer
from keras_vae.layers.beta import Beta
from keras_vae.layers.categorical import Categorical
from keras_vae.layers.continuous_bernoulli import ContinuousBernoulli
from keras_vae.layers.discretized_logistic import DiscretizedLogistic
from keras_vae.layers.discretized_logistic_mixture import DiscretizedLogisticMixture
from keras_vae.layers.distribution_lambda import DistributionLambda
from keras_vae.layers.impute import Impute
from keras_vae.layers.independent_bernoulli import IndependentBernoulli
from keras_vae.layers.independent_laplace import IndependentLaplace
from keras_vae.layers.independent_logistic import IndependentLogistic
from keras_vae.layers.independent_normal import IndependentNormal
from keras_vae.layers.independent_student_t import IndependentStudentT
from keras_vae.layers.joint import Joint
from keras_vae.layers.location_scale import LocationScaleLayer
from keras_vae.layers.masked import Masked
from keras_vae.layers.mean import Mean
from keras_vae.layers.multivariate_normal_low_rank import MultivariateNormalLowRank
from keras_vae.layers.multivariate_normal_tril import MultivariateNormalTriL
from keras_vae.layers.negative_binomial import NegativeBinomial
from keras_vae.layers.poisson import Poisson
from keras_vae.layers.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "DistributionLambda",
    "DistributionLayer",
    "Impute",
    "IndependentBernoulli",
    "IndependentLaplace",
    "IndependentLogistic",
    "IndependentNormal",
    "IndependentStudentT",
    "Joint",
    "LocationScaleLayer",
    "Masked",
    "Mean",
    "MultivariateNormalLowRank",
    "MultivariateNormalTriL",
    "NegativeBinomial",
    "Poisson",
    "ZeroInflatedNegativeBinomial",
]
