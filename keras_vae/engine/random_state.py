"""Saves and loads the random state of a model: seeds, and how many batches were trained on.

A run that is resumed from a file needs it, beside the weights, to go on as if it had never ended.
"""

import keras
import numpy as np

from keras_vae import compat


class BatchCount(keras.callbacks.Callback):
    """Counts the batches of all epochs that have ended: an epoch's order is a function of it. Stands before all others,
    so that what they save at an epoch's end has it.

    Args:
        counter: whose `batches_done` it counts up.
        steps: batches an epoch.
    """

    def __init__(self, counter, steps):
        super().__init__()
        self.counter, self.steps = counter, steps

    def on_epoch_end(self, epoch, logs=None):
        self.counter.batches_done += self.steps


def save(model, counter, store):
    """Puts the random state of a model and its layers, which Keras does not save, into a layer's store."""
    store["seed_generators"] = np.stack([np.asarray(each.state) for each in _generators(model)])
    store["batches"] = np.asarray(counter.batches_done, "int64")


def load(model, counter, store):
    """Takes it out again, and returns what else the store holds.

    A generator that was given another seed than the saved one keeps its own. So runs of several seeds that begin with
    the same weights stay apart. So do the generators of a model with other layers that draw.
    """
    rest = {key: store[key] for key in store.keys()}  # noqa: SIM118 - a store is no dictionary
    states, batches = np.asarray(rest.pop("seed_generators", ())), rest.pop("batches", 0)
    generators = _generators(model)
    if len(states) == len(generators):
        for generator, state in zip(generators, states, strict=True):
            given = generator.get_config()["seed"]
            if given is None or given == int(state[0]):
                generator.state.assign(state)
        counter.batches_done = int(np.asarray(batches))
    return rest


def _generators(model):
    """All `SeedGenerator`s of a model and its layers, in the order of the layers, but for those that begin anew."""
    found = [generator for layer in compat.layers_of(model) for generator in compat.seed_generators_of(layer)]
    return [each for each in found if each not in (model.evaluation_seeds, model.prediction_seeds)]
