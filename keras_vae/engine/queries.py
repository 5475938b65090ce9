"""Runs a model's methods, such as `encode` and `reconstruct`, as compiled programs for any number of rows.

Called eagerly, a Keras model runs operation by operation, and takes several times as long as the arithmetic does.
"""

import collections
import functools
import inspect

import keras
import numpy as np
import tensorflow as tf

from keras_vae import backend, compat
from keras_vae.backend import tfd
from keras_vae.checks import check_seed
from keras_vae.data.intake import as_arrays
from keras_vae.data.sparse_rows import SparseRows

MOST_PROGRAMS = 32  # of a model; the one that was not used for longest makes room

# What an argument or a distribution's parameter may be that is a part of the program, and not of what it is given.
STATIC = (type(None), bool, int, float, str, np.generic, tf.DType, tf.TensorShape)


def query(method):
    """A model's method of tensors, which runs as a program: traced once, and then for any number of rows.

    It returns tensors, or a distribution, and changes nothing but seeds. The program is given `seed`, `num`, and all
    that is an array or a structure of arrays. Other arguments are a part of it.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def ask(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs).arguments
        del given["self"]
        given = {name: value if isinstance(value, STATIC) else as_arrays(value) for name, value in given.items()}
        if given.get("training") or not self.engine.may_ask():
            return method(self, **given)
        return self.engine.queries(method, given)

    return ask


class Queries:
    """The programs of a model's queries.

    Args:
        model: a function that gives the model.
    """

    def __init__(self, model):
        self._model = model
        self._programs = collections.OrderedDict()

    def __call__(self, method, given):
        """What a method of the model answers to the arguments `given`, by name."""
        model = self._model()
        fixed = {k: value for k, value in given.items() if isinstance(value, STATIC) and k not in ("seed", "num")}
        tensors = {name: value for name, value in given.items() if name not in fixed}
        arrays = [part for name, part in tensors.items() if name not in ("seed", "num")]
        if not all(is_dense(leaf) for leaf in keras.tree.flatten(arrays)):
            return method(model, **given)
        if tensors.get("seed") is None:
            tensors.pop("seed", None)
        else:
            check_seed(tensors["seed"])
            tensors["seed"] = tf.constant(int(tensors["seed"]) % 2**62, tf.int64)  # all that counts of it
        tensors = keras.tree.lists_to_tuples(keras.tree.map_structure(keras.ops.convert_to_tensor, tensors))
        specs = keras.tree.map_structure(any_number_of_rows, tensors)
        kinds = tuple((path, spec.shape, spec.dtype) for path, spec in keras.tree.flatten_with_path(specs))
        key = (method, tuple(fixed.items()), kinds)
        program = self._programs.pop(key, None)
        if program is None:
            with compat.losses_kept(model):  # not those that layers add to a program
                program = Program(functools.partial(method, model, **fixed), specs)
        self._programs[key] = program
        if len(self._programs) > MOST_PROGRAMS:
            self._programs.popitem(last=False)
        return program(tensors) if program.is_whole else method(model, **fixed, **tensors)

    def __len__(self):
        return len(self._programs)

    def forget(self):
        """Lets go of all programs: they hold layers as they were when traced."""
        self._programs.clear()


class Program:
    """A function of tensors, traced once; what it returns is put together from its tensors.

    Args:
        function: of tensors by name.
        specs: `tf.TensorSpec`s by name.

    Attributes:
        is_whole: whether what it returns can be put together from tensors; else the program is of no use.
    """

    def __init__(self, function, specs):
        self._rebuild = None

        def run(tensors):
            leaves, self._rebuild = dissolved(function(**tensors))
            return leaves

        try:
            self._program = backend.program(run).get_concrete_function(specs)
            self.is_whole = True
        except Exception:  # of tensors that do not fit: operation by operation, it is said what is wrong
            self.is_whole = False

    def __call__(self, tensors):
        return self._rebuild(iter(self._program(tensors)))


def is_dense(leaf):
    """Whether a part of an argument is an array or a tensor of numbers or text: not a number, sparse, or symbolic."""
    others = keras.KerasTensor, tf.SparseTensor, tf.RaggedTensor, SparseRows
    return hasattr(leaf, "shape") and not isinstance(leaf, others)


def any_number_of_rows(tensor):
    """The `tf.TensorSpec` of tensors that differ from this one in their number of rows."""
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)


def dissolved(value):
    """The tensors that a value is made of, a list, and a function of an iterator of such tensors to such a value.

    Raises:
        TypeError: it is not made of tensors, distributions of them, and constants. A size that is known only when the
            program runs is neither: put together again, it would not be known while tracing.
    """
    if tf.is_tensor(value) and not (value.shape.rank == 0 and value.dtype.is_integer):
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
    raise TypeError(f"a {type(value).__name__} is not made of tensors")
