"""Objectives: named, weighted terms over a forward pass, in nats per example."""

from keras_vae.objectives.base import Objective
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.forward_pass import ForwardPass

__all__ = ["ELBO", "ForwardPass", "Objective"]


def __dir__():
    return __all__
