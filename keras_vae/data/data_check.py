"""Looks at the data before a VAE trains on it: empty, not finite, or outside what the likelihood can score."""

import types
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vae.data import contract, dataset_check, kinds
from keras_vae.data.parts import pick
from keras_vae.data.support import Support

# The support of a family that does not say.
ANYTHING = Support("the likelihood", "numbers", scales=False)


class Part(NamedTuple):
    """One part of x.

    Attributes:
        value: its batch, an array or a tensor.
        name: what to call it: x, x[0], x['image'].
        support: what can be scored, or None for a part that is not scored.
        event_shape: of each example, or None where that is not known.
    """

    value: Any
    name: str
    support: Support | None
    event_shape: tuple | None


class DataCheck:
    """Refuses data that the likelihood cannot score, before the step that would have used it.

    Arrays are looked at once, whole. Datasets, generators and `PyDataset`s are looked at batch by batch as they arrive.
    It is a context around all that reads the data. There an error that a data pipeline has wrapped in its own comes out
    as it was raised.

    Args:
        model: whose `target` says what is scored, and whose `support`, a `Support`, or a dictionary of them, what the
            likelihood can score.
        enabled: False to let everything through unseen.
    """

    def __init__(self, model, enabled=True):
        self.model = model
        self.enabled = enabled
        self.error = None
        self.has_met_missing = False

    def __enter__(self):
        return self

    def __exit__(self, exception_type, exception, traceback):
        if isinstance(exception, Exception) and self.error is not None and exception is not self.error:
            raise self.error from None

    def __call__(self, data, name="x"):
        """`data` of the same kind, looked at: now if it is arrays, else batch by batch while it is read.

        Raises:
            ValueError: the data is empty, or is arrays that hold a value the likelihood cannot score.
        """

        def look_at_batch(index, element):
            if self.enabled:
                self._look_at(keras.utils.unpack_x_y_sample_weight(element)[0], name, f" of batch {index}")
            return element

        if isinstance(data, keras.utils.PyDataset):
            data = _LookedAt(data, look_at_batch)
        if not self.enabled:
            return data
        if kinds.is_empty(data):
            raise kinds.empty(name)
        if kinds.is_dataset(data):
            return self._looked_at_dataset(data, name)
        if isinstance(data, types.GeneratorType):
            return (look_at_batch(index, element) for index, element in enumerate(data))
        if kinds.holds_arrays(data):
            self._look_at(data, name)
        # Whatever else Keras takes (a torch DataLoader, say) goes through as it is.
        return data

    def finite(self, array, name):
        """Raises ValueError if the array holds a number that is not finite."""
        if self.enabled:
            self._refuse(_error_in(np.asarray(array), name))

    def _look_at(self, x, name, where=""):
        parts = [part._replace(value=np.asarray(part.value)) for part in self._parts(x, name)]
        self._look_at_parts(parts, where)
        self._try_missing(x, parts, where)

    def _look_at_parts(self, parts, where):
        for part in parts:
            if part.event_shape is not None:
                try:
                    contract.check_event(part.event_shape, part.value, part.name)
                except ValueError as error:
                    self._refuse(error)
            self._refuse(_error_in(part.value, part.name, part.support, where))
        self._refuse(_error_of_missing([part for part in parts if part.support is not None], where))

    def _try_missing(self, x, parts, where):
        """Refuses the first example with a missing entry if the encoder makes no numbers of it."""
        scored = [part for part in parts if part.support is not None and part.support.may_be_missing]
        if self.has_met_missing or not scored or not self.model.built:
            return
        rows = len(scored[0].value)
        has_holes = np.logical_or.reduce([np.isnan(part.value.reshape(rows, -1)).any(axis=1) for part in scored])
        if not has_holes.any():
            return
        self.has_met_missing = True
        first = int(has_holes.argmax())
        example = keras.tree.map_structure(lambda leaf: np.asarray(leaf)[first : first + 1], x)

        def is_finite(example):
            return np.isfinite(np.asarray(self.model.encode(example).mean())).all()

        # A model whose weights are NaN makes no numbers of anything.
        if not is_finite(example) and is_finite(keras.tree.map_structure(_without_nan, example)):
            self._refuse(
                ValueError(
                    f"Expected the encoder to take missing entries, as {scored[0].name} has at position [{first}]"
                    f"{where}; received a posterior that is not finite. Let it start with keras_vae.layers.Impute()."
                )
            )

    def _parts(self, x, name):
        """Each part of x, with what is known of it."""
        scored, support, event_shape = pick(x, self.model.target), self.model.support, self.model.event_shape
        scored_in = self.model.dtype_scored
        known = {}
        for key, part in scored.items() if isinstance(scored, dict) else [(None, scored)]:
            support_of, shape = (each.get(key) if isinstance(each, dict) else each for each in (support, event_shape))
            dtype = getattr(part.dtype, "name", str(part.dtype))
            known[id(part)] = (ANYTHING if support_of is None else support_of.for_dtype(dtype, scored_in), shape)
        for part, part_name in _named(x, name):
            yield Part(part, part_name, *known.get(id(part), (None, None)))

    def _refuse(self, error):
        if error is not None:
            self.error = self.error or error  # the first: a pipeline may fetch on
            raise error

    def _looked_at_dataset(self, dataset, name):
        """Looked at by TensorFlow, and in Python only where that finds something: most batches cost microseconds."""
        supports = keras.tree.flatten(self.model.support)
        if any(getattr(support, "may_be_missing", False) for support in supports):
            element = kinds.first_element(dataset)
            if element is not None:
                self._look_at(keras.utils.unpack_x_y_sample_weight(element)[0], name, " of batch 0")

        def examine(element):
            x = keras.utils.unpack_x_y_sample_weight(element)[0]
            parts = [part for part in self._parts(x, name) if dataset_check.is_dense_number(part.value)]

            def look(index, *arrays):
                found = [part._replace(value=array) for part, array in zip(parts, arrays, strict=True)]
                self._look_at_parts(found, f" of batch {index}")

            return dataset_check.is_suspect(parts), [part.value for part in parts], look

        return dataset_check.inspect_dataset(dataset, examine)


def _error_in(x, name, support=None, where=""):
    """The error that the array `x` deserves, or None. With a support, it must hold numbers, and in there."""
    if x.size == 0:
        return None  # an empty batch is no reason to stop
    if x.dtype.kind in "OSUMmc":
        message = f"Expected {name} to hold numbers; received dtype {x.dtype}."
        return None if support is None else ValueError(message)
    may_be_missing = support is not None and support.may_be_missing
    low, high = x.min(), x.max()  # both carry a NaN through: two passes over memory and no copy
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = np.isinf(x) if may_be_missing else ~np.isfinite(x)
        if not bad.any():
            return support.error(np.where(np.isnan(x), support.valid_value, x), name, where)
        first = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
        return ValueError(
            f"Expected {name} to be finite; received {x[first]} at position {list(first)}{where}, the first "
            f"of {int(bad.sum())} value(s) that are not finite."
        )
    return None if support is None else support.error(x, name, where)


def _error_of_missing(parts, where):
    """The error for an example of which nothing was observed, where entries may be missing, or None."""
    if not parts or not all(part.support.may_be_missing and part.value.size for part in parts):
        return None
    rows = len(parts[0].value)
    missing = np.logical_and.reduce([np.isnan(part.value.reshape(rows, -1)).all(axis=1) for part in parts])
    if not missing.any():
        return None
    return ValueError(
        f"Expected each example of {parts[0].name}{where} to have an entry that was observed; received only missing "
        f"ones at position [{int(missing.argmax())}], the first of {int(missing.sum())} such example(s). "
        "Leave them out."
    )


def _without_nan(array):
    """An array with 0 in place of NaN."""
    return np.nan_to_num(array, nan=0.0) if array.dtype.kind == "f" else array


def _named(x, name):
    """The leaves of x, each with what to call it: x, x[0], x['image']."""
    if isinstance(x, dict):
        for key, part in x.items():
            yield from _named(part, f"{name}[{key!r}]")
    elif isinstance(x, (list, tuple)):
        for index, part in enumerate(x):
            yield from _named(part, f"{name}[{index}]")
    else:
        yield x, name


class _LookedAt(keras.utils.PyDataset):
    """A `PyDataset` whose batches are looked at as they are made."""

    def __init__(self, dataset, look):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset = dataset
        self.look = look

    def __getitem__(self, index):
        return kinds.as_step(self.look(index, self.dataset[index]))

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()
