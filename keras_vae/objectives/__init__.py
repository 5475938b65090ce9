"""Objectives: named, weighted terms over a forward pass, in nats per example."""

from keras_vae.objectives.base import Objective
from keras_vae.objectives.elbo import ELBO
from keras_vae.objectives.forward_pass import ForwardPass
from keras_vae.objectives.term_weight import TermWeight

__all__ = ["ELBO", "ForwardPass", "Objective", "TermWeight"]


def __dir__():
    return __all__
