"""How data reaches the steps: what is known of its batches beforehand, and arrays as elements that steps take."""

import contextlib
import math

import keras

from keras_vae import compat
from keras_vae.data import kinds
from keras_vae.engine import datasets
from keras_vae.engine.arrays import ArrayBlocks, is_read_by_rows

ARGUMENTS = ("x", "y", "sample_weight")


class Feed:
    """The data among a method's arguments, and what is known of its batches before any is read.

    Args:
        given: the arguments of `fit` or `evaluate`, by name.
        spec: of one batch of x, or None where it cannot be known.
        batch_size: rows a batch, for arrays. Default: as Keras has it, 32, or so many that `steps` batches hold all.
        steps_name: of the argument for the number of batches an epoch: "steps_per_epoch" or "steps".

    Raises:
        ValueError: of arrays there are weights of classes, but no classes y, or weights of examples, too.

    Attributes:
        num_batches: how many batches the data holds, or None where that is not known.
        num_examples: how many examples the data holds, as if its last batch were full. None where that is not known: as
            of a stream of whose batches an epoch takes another number than all. It may be a part of the data, or
            several rounds of it.
        batch_size: examples a batch, or None where that is not known.
        example_size: numbers in one example of x, or None where that is not known.
        steps: how many batches an epoch were asked for; None for all.
    """

    def __init__(self, given, spec, batch_size=None, steps_name="steps"):
        self.given = given
        self.steps_name = steps_name
        self.steps = given.get(steps_name)
        x = given["x"]
        shapes = [tuple(part.shape) for part in keras.tree.flatten(spec)] if spec is not None else []
        known = shapes and all(None not in shape[1:] for shape in shapes)
        self.example_size = sum(math.prod(shape[1:]) for shape in shapes) if known else None
        self.batch_size = shapes[0][0] if shapes else None
        self.num_batches = None
        self.is_arrays = kinds.holds_arrays(x)
        if self.is_arrays:
            weigh_classes(given)
            num_rows = keras.tree.flatten(x)[0].shape[0]
            self.batch_size = rows_per_batch(num_rows, batch_size, self.steps)
            self.num_batches = math.ceil(num_rows / self.batch_size)
            self.num_examples = num_rows
            return
        if kinds.is_dataset(x):
            self.num_batches = kinds.num_batches(x)
        elif isinstance(x, keras.utils.PyDataset):
            self.num_batches = x.num_batches
        is_known = None not in (self.num_batches, self.batch_size) and self.steps in (None, self.num_batches)
        self.num_examples = self.num_batches * self.batch_size if is_known else None

    def replace_arrays(self, batches_per_call, as_dataset, shuffle=False, labels=False, seed=0, first_batch=int):
        """Replaces arrays among the arguments by what yields their batches.

        Left to Keras are numbers of steps that elements do not divide.

        Args:
            batches_per_call: how many batches a call of the step function takes.
            as_dataset: whether a data set of batches is wanted, for a strategy to split, or for Keras's own stepping.
            shuffle: as of `fit`.
            labels: whether y is used; else it is left out.
            seed, first_batch: of the orders: as of `keras_vae.engine.arrays.ArrayBlocks`.

        Raises:
            ValueError: arrays of different lengths.
        """
        given = self.given
        if not self.is_arrays:
            if "shuffle" in given and not isinstance(given["x"], keras.utils.PyDataset):
                given["shuffle"] = False  # of a stream Keras warns, even of its own default
            return
        y, weight = given.get("y") if labels else None, given.get("sample_weight")
        parts = {"x": given["x"], "y": y, "sample_weight": weight}
        parts = {name: part for name, part in parts.items() if part is not None}
        lengths = [leaf.shape[0] for leaf in keras.tree.flatten(list(parts.values()))]
        if len(set(lengths)) > 1:
            raise ValueError(f"Expected {' and '.join(parts)} to hold as many examples; received lengths {lengths}")
        # Keras drops the weights of data without labels; any will do.
        y = weight if y is None else y
        # Kept as long as this is: a data set reads a file's by way of a reference that does not hold it.
        self.arrays = arrays = tuple(part for part in (given["x"], y, weight) if part is not None)
        steps = self.steps or self.num_batches
        # Blocks end with an epoch: where it takes several, or parts, to make up one of Keras's, calls must fit in.
        divides = not self.steps or steps % batches_per_call == self.num_batches % batches_per_call == 0
        as_blocks = not as_dataset and divides and not kinds.has_sparse(arrays)
        fits = steps <= self.num_batches and (as_blocks or steps % batches_per_call == 0)
        if not fits and not is_read_by_rows(arrays):
            given["y"] = y
            return
        orders = {"shuffle": shuffle, "seed": seed, "first_batch": first_batch, "continues": bool(self.steps)}
        if as_dataset:
            x = datasets.array_dataset(arrays, self.batch_size, **orders)
        else:
            x = ArrayBlocks(arrays, self.batch_size, batches_per_call if as_blocks else None, **orders)
        given.update({**dict.fromkeys(ARGUMENTS), "x": x, "batch_size": None, self.steps_name: steps})
        if self.steps_name == "steps_per_epoch":
            given["shuffle"] = False  # done; Keras would warn that it does not


def rows_per_batch(num_rows, batch_size=None, steps=None):
    """Rows a batch as Keras has it: what was asked for, or so many that `steps` batches hold all, or 32."""
    return batch_size or (math.ceil(num_rows / steps) if steps else 32)


def split_off_validation(given):
    """Makes `validation_split`'s share of arrays `validation_data`: their last rows, before any shuffling."""
    split = given.get("validation_split")
    if not split or given.get("validation_data") is not None or not kinds.holds_arrays(given["x"]):
        return
    num_rows = keras.tree.flatten(given["x"])[0].shape[0]
    at = math.floor(num_rows * (1.0 - split))
    if not 0 < at < num_rows:
        raise ValueError(
            f"Expected `validation_split` to leave rows to train on and rows to validate on; received {split!r} of "
            f"{num_rows} rows"
        )

    def rows(which):
        parts = {part: given.get(part) for part in ARGUMENTS}
        if parts["y"] is not None and not kinds.holds_arrays(parts["y"]):
            parts["y"] = None  # labels of any kind are ignored; those that a step looks at are arrays
        return keras.tree.map_structure(lambda array: None if array is None else array[which], parts)

    validation = rows(slice(at, None))
    given.update(rows(slice(at)), validation_split=0.0, validation_data=tuple(validation[part] for part in ARGUMENTS))


def weigh_classes(given):
    """Makes of weights of classes weights of the examples, if there are any.

    Raises:
        ValueError: there is no y, or there are weights of examples, too.
    """
    weights = given.get("class_weight")
    if weights is None:
        return
    if given.get("y") is None or given.get("sample_weight") is not None:
        received = "y=None" if given.get("y") is None else "sample_weight, too"
        raise ValueError(
            "fit: expected y, the class of each example, for `class_weight` to weigh, and no other weights; received "
            f"class_weight={weights!r}, {received}"
        )
    given.update(class_weight=None, sample_weight=compat.class_weights_of(given["y"], weights))


@contextlib.contextmanager
def shown_to(callbacks, data):
    """Within, callbacks that look at examples have the data of `fit`, `(x, y)`: to train on, and to validate on."""
    listed = getattr(callbacks, "callbacks", callbacks)  # of a CallbackList
    looking = [each for each in keras.tree.flatten(listed or []) if hasattr(each, "on_fit_data")]
    try:
        for each in looking:
            each.on_fit_data(*data)
        yield
    finally:
        for each in looking:
            each.on_fit_data(None)
