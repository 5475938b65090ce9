"""Objectives: named, weighted terms over a forward pass, in nats per example."""

from keras_vae.objectives.base import Objective
from keras_vae.objectives.ciwae import CIWAE
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.factor_vae import FactorVAE
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.hyperparameter import Hyperparameter
from keras_vae.objectives.importance_weighted import ImportanceWeighted
from keras_vae.objectives.iwae import IWAE
from keras_vae.objectives.miwae import MIWAE
from keras_vae.objectives.renyi import RenyiBound

__all__ = [
    "CIWAE",
    "ELBO",
    "IWAE",
    "MIWAE",
    "FactorVAE",
    "ForwardPass",
    "Hyperparameter",
    "ImportanceWeighted",
    "Objective",
    "RenyiBound",
]


def __dir__():
    return __all__
