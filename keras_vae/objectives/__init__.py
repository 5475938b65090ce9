"""Objectives: named, weighted terms over a forward pass, in nats per example."""

from keras_vae.objectives import kernels
from keras_vae.objectives.base import Objective
from keras_vae.objectives.bounds.ciwae import CIWAE
from keras_vae.objectives.bounds.elbo import ELBO
from keras_vae.objectives.bounds.importance_weighted import ImportanceWeighted
from keras_vae.objectives.bounds.iwae import IWAE
from keras_vae.objectives.bounds.miwae import MIWAE
from keras_vae.objectives.bounds.renyi import RenyiBound
from keras_vae.objectives.constrained.capacity import Capacity
from keras_vae.objectives.constrained.free_bits import FreeBits
from keras_vae.objectives.constrained.geco import GECO
from keras_vae.objectives.discrepancy.info_vae import InfoVAE
from keras_vae.objectives.discrepancy.mmd import MMD
from keras_vae.objectives.discrepancy.wae import WAE
from keras_vae.objectives.disentangled.beta_tc import BetaTC
from keras_vae.objectives.disentangled.dip import DIP
from keras_vae.objectives.disentangled.dip_vae import DIPVAE
from keras_vae.objectives.disentangled.factor_vae import FactorVAE
from keras_vae.objectives.disentangled.total_correlation import TotalCorrelation
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.sum import Sum

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
