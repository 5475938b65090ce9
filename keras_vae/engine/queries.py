"""What is asked of a model again and again, on arrays of the same shapes: as one program, from the second time on.

Called eagerly, a Keras model runs operation by operation, and takes several times as long as the arithmetic does.
"""

import collections
import functools
import inspect

import keras
import numpy as np
import tensorflow as tf

from keras_vae import backend
from keras_vae.backend import tfd
from keras_vae.checks import check_seed

MOST_PROGRAMS = 32  # of a model; the one that was not used for longest makes room

# What an argument or a distribution's parameter may be that is a part of the program, and not of what it is given.
STATIC = (type(None), bool, int, float, str, np.generic, tf.DType, tf.TensorShape)


def query(method):
    """A model's method of tensors, which is traced when it is called a second time on tensors of the same shapes.

    It returns tensors, or a distribution, and changes nothing but seeds. Of its arguments, `seed` and what is an array,
    or a structure of them, are given to the program; all else is a part of it.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def ask(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        del given["self"]
        if given.get("training") or not self.engine.may_ask():
            return method(self, **given)
        return self.engine.queries(method, given)

    return ask


class Queries:
    """The programs of a model's queries.

    Args:
        model: a callable that gives the model.
    """

    def __init__(self, model):
        self._model = model
        self._asked = collections.OrderedDict()  # a signature: its program, or None where it was asked for once

    def __call__(self, method, given):
        """What a method of the model answers, run as a program if it was asked the same kind of thing before."""
        given = dict(given)
        if given.get("seed") is not None:
            check_seed(given["seed"])
            given["seed"] = tf.constant(int(given["seed"]) % 2**62, tf.int64)  # all that counts of it
        fixed = {name: value for name, value in given.items() if isinstance(value, STATIC) and name != "seed"}
        tensors = {name: value for name, value in given.items() if name not in fixed}
        if any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(tensors)):
            return method(self._model(), **given)
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, tensors)
        kinds = tuple((tuple(path), leaf.shape, leaf.dtype) for path, leaf in keras.tree.flatten_with_path(tensors))
        key = (method, tuple(fixed.items()), kinds, self._parts())
        program = self._asked.pop(key, False)
        if program is None:
            program = Program(functools.partial(method, self._model(), **fixed), tensors)
        self._asked[key] = program or None
        if len(self._asked) > MOST_PROGRAMS:
            self._asked.popitem(last=False)
        if not program or not program.is_whole:
            return method(self._model(), **fixed, **tensors)
        return program(tensors)

    def forget(self):
        """Lets go of all programs: they hold layers as they were when traced."""
        self._asked.clear()

    def _parts(self):
        model = self._model()
        return tuple(id(part) for part in (model.encoder, model.decoder, model.prior, model.objective))


class Program:
    """A function of tensors, traced once; what it returns is put together from its tensors.

    Args:
        function: of tensors by name.
        tensors: such tensors.

    Attributes:
        is_whole: whether what it returns can be put together from tensors; else the program is of no use.
    """

    def __init__(self, function, tensors):
        self.is_whole = True
        self._rebuild = None

        def run(tensors):
            try:
                leaves, self._rebuild = dissolved(function(**tensors))
            except Indissoluble:
                self.is_whole, leaves = False, []
            return leaves

        specs = keras.tree.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), tensors)
        self._program = backend.program(run).get_concrete_function(specs)

    def __call__(self, tensors):
        return self._rebuild(iter(self._program(tensors)))


class Indissoluble(Exception):
    """Of a value that is not made of tensors, distributions of them, and constants."""


def dissolved(value):
    """The tensors that a value is made of, a list, and a function of an iterator of such tensors to such a value."""
    if tf.is_tensor(value):
        return [value], next
    if isinstance(value, tfd.Distribution):
        leaves, rebuild = dissolved(dict(value.parameters))
        kind = type(value)
        return leaves, lambda tensors: kind(**rebuild(tensors))
    if isinstance(value, dict):
        leaves, rebuild = dissolved(list(value.values()))
        names = list(value)
        return leaves, lambda tensors: dict(zip(names, rebuild(tensors), strict=True))
    if type(value) in (list, tuple):
        kind, parts = type(value), [dissolved(part) for part in value]
        rebuilds = [rebuild for _, rebuild in parts]
        return (
            [leaf for leaves, _ in parts for leaf in leaves],
            lambda tensors: kind(rebuild(tensors) for rebuild in rebuilds),
        )
    if isinstance(value, STATIC):
        return [], lambda tensors: value
    raise Indissoluble
