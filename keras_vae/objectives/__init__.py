"""Objectives: named, weighted terms over a forward pass, in nats per example."""

from keras_vae.objectives import kernels
from keras_vae.objectives.base import Objective
from keras_vae.objectives.beta_tc import BetaTC
from keras_vae.objectives.capacity import Capacity
from keras_vae.objectives.ciwae import CIWAE
from keras_vae.objectives.dip import DIP
from keras_vae.objectives.dip_vae import DIPVAE
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.factor_vae import FactorVAE
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.free_bits import FreeBits
from keras_vae.objectives.geco import GECO
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.importance_weighted import ImportanceWeighted
from keras_vae.objectives.info_vae import InfoVAE
from keras_vae.objectives.iwae import IWAE
from keras_vae.objectives.miwae import MIWAE
from keras_vae.objectives.mmd import MMD
from keras_vae.objectives.renyi import RenyiBound
from keras_vae.objectives.sum import Sum
from keras_vae.objectives.total_correlation import TotalCorrelation
from keras_vae.objectives.wae import WAE

__all__ = [
    "CIWAE",
    "DIP",
    "DIPVAE",
    "ELBO",
    "GECO",
    "IWAE",
    "MIWAE",
    "MMD",
    "WAE",
    "BetaTC",
    "Capacity",
    "FactorVAE",
    "ForwardPass",
    "FreeBits",
    "Hyperparameter",
    "ImportanceWeighted",
    "InfoVAE",
    "Objective",
    "RenyiBound",
    "Sum",
    "TotalCorrelation",
    "kernels",
]


def __dir__():
    return __all__
