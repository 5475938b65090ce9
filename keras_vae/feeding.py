"""How data reaches the steps: what is known of the batches beforehand, and arrays as a data set of blocks of them."""

import math

import keras
import numpy as np

from keras_vae import datasets
from keras_vae.data_check import holds_arrays

PARTS = ("x", "y", "sample_weight")


class Feed:
    """The data among a method's arguments, and what is known of its batches before any is read.

    Args:
        given: the arguments of `fit` or `evaluate`, by name.
        spec: of one batch of x, or None where it cannot be known.
        batch_size: rows a batch, for arrays. Default: as Keras has it, 32, or so many that `steps` batches hold all.
        steps: how many batches an epoch were asked for; None for all.

    Attributes:
        num_batches: how many batches the data holds, or None where that is not known.
        batch_size: examples a batch, or None where that is not known.
        example_size: numbers in one example of x, or None where that is not known.
        steps: as given.
    """

    def __init__(self, given, spec, batch_size=None, steps=None):
        self.given = given
        self.steps = steps
        x = given["x"]
        shapes = [tuple(part.shape) for part in keras.tree.flatten(spec)] if spec is not None else []
        known = shapes and all(None not in shape[1:] for shape in shapes)
        self.example_size = sum(math.prod(shape[1:]) for shape in shapes) if known else None
        self.batch_size = shapes[0][0] if shapes else None
        self.num_batches = None
        self._is_arrays = holds_arrays(x)
        if self._is_arrays:
            num_rows = keras.tree.flatten(x)[0].shape[0]
            self.batch_size = batch_size or (math.ceil(num_rows / steps) if steps else 32)
            self.num_batches = math.ceil(num_rows / self.batch_size)
        elif datasets.is_dataset(x):
            self.num_batches = datasets.num_batches(x)
        elif isinstance(x, keras.utils.PyDataset):
            self.num_batches = x.num_batches

    def replace_arrays(self, num_steps, as_blocks, steps_name, shuffle=False, labels=False, seed=0, first_batch=int):
        """Replaces arrays among the arguments by a data set of their batches.

        Left to Keras are arrays with class weights, and numbers of steps that elements do not divide.

        Args:
            num_steps: how many batches a call of the step function takes.
            as_blocks: whether an element holds as many batches, as a `Block`, or one.
            steps_name: of the method's argument for the number of batches, which the data set does not tell.
            shuffle: as of `fit`.
            labels: whether y is used; else it is left out.
            seed, first_batch: of the orders: as of `keras_vae.datasets.array_dataset`.

        Raises:
            ValueError: arrays of different lengths.
        """
        if not self._is_arrays:
            return
        given = self.given
        y, weight = given.get("y") if labels else None, given.get("sample_weight")
        parts = {"x": given["x"], "y": y, "sample_weight": weight}
        parts = {name: part for name, part in parts.items() if part is not None}
        lengths = [leaf.shape[0] for leaf in keras.tree.flatten(list(parts.values()))]
        if len(set(lengths)) > 1:
            raise ValueError(f"Expected {' and '.join(parts)} to hold as many examples; received lengths {lengths}")
        # Keras drops the weights of data without labels; any will do.
        y = weight if y is None else y
        arrays = tuple(part for part in (given["x"], y, weight) if part is not None)
        steps = self.steps or self.num_batches
        # Blocks end with an epoch: where it takes several, or parts, to make up one of Keras's, calls must fit in.
        as_blocks = as_blocks and (not self.steps or steps % num_steps == self.num_batches % num_steps == 0)
        fits = steps <= self.num_batches and (as_blocks or steps % num_steps == 0)
        if given.get("class_weight") is not None or not fits:
            given["y"] = given.get("y") if given.get("class_weight") is not None else y
            return
        dataset = datasets.array_dataset(
            arrays,
            self.batch_size,
            num_steps if as_blocks else None,
            shuffle,
            seed,
            first_batch,
            goes_on=bool(self.steps),
        )
        given.update({**dict.fromkeys(PARTS), "x": dataset, "batch_size": None, steps_name: steps})
        if steps_name == "steps_per_epoch":
            given["shuffle"] = False  # done; Keras would warn that it does not


def split_off_validation(given):
    """Makes `validation_split`'s share of arrays `validation_data`: their last rows, before any shuffling."""
    split = given.get("validation_split")
    if not split or given.get("validation_data") is not None or not holds_arrays(given["x"]):
        return
    num_rows = keras.tree.flatten(given["x"])[0].shape[0]
    at = math.floor(num_rows * (1.0 - split))
    if not 0 < at < num_rows:
        return  # Keras says what is wrong

    def rows(which):
        parts = {part: given.get(part) for part in PARTS}
        return keras.tree.map_structure(lambda array: None if array is None else array[which], parts)

    validation = rows(slice(at, None))
    given.update(rows(slice(at)), validation_split=0.0, validation_data=tuple(validation[part] for part in PARTS))


def first_examples(x, y, num):
    """The first `num` examples of data as `fit` takes them: x and y, structures of NumPy arrays, or None.

    Both are None for data that can be read but once, or is of a kind that only Keras knows.
    """
    if holds_arrays(x):
        return _rows(x, num), None if y is None else _rows(y, num)
    batches = []
    if datasets.is_dataset(x):
        batches = iter(x)
    elif isinstance(x, keras.utils.PyDataset):
        batches = (x[index] for index in range(x.num_batches or 1))
    found, count = [], 0
    for batch in batches:
        parts = keras.utils.unpack_x_y_sample_weight(batch)[:2]
        found.append(parts)
        count += keras.tree.flatten(parts[0])[0].shape[0]
        if count >= num:
            break
    if not found:
        return None, None
    parts = zip(*found, strict=True)
    return tuple(None if part[0] is None else _rows(_joined(part), num) for part in parts)


def _rows(arrays, num):
    return keras.tree.map_structure(lambda array: np.asarray(array[:num]), arrays)


def _joined(batches):
    return keras.tree.map_structure(lambda *parts: np.concatenate([np.asarray(part) for part in parts]), *batches)
