"""Distribution layers: features in, a TFP distribution out. Each comes last in an encoder or decoder."""

from keras_vae.layers.base import DistributionLayer
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
from keras_vae.layers.multivariate_normal_low_rank import MultivariateNormalLowRank
from keras_vae.layers.multivariate_normal_tril import MultivariateNormalTriL

__all__ = [
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
    "MultivariateNormalLowRank",
    "MultivariateNormalTriL",
]
