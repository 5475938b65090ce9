"""Looks at the data before a VAE trains on it: empty, not finite, or outside what the likelihood can score."""

import types
import warnings
import weakref
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vae.data import contract, dataset_check, kinds
from keras_vae.data.faults import (
    as_looked_at,
    error_in,
    error_in_weights,
    missing_rows,
    rows_with_holes,
    without_nan,
)
from keras_vae.data.intake import MappedPyDataset
from keras_vae.data.magnitudes import advice_on_size
from keras_vae.data.parts import pick
from keras_vae.data.support import Support
from keras_vae.data.targets import advice_on_targets
from keras_vae.estimates import centre

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

    Arrays are looked at once, whole, some rows at a time. Datasets, generators and `PyDataset`s are looked at batch by
    batch as they arrive. It is a context around all that reads the data. There an error that a data pipeline has
    wrapped in its own comes out as it was raised. What can be scored, and yet is not as it should be, is a warning.

    Args:
        model: whose `target` says what is scored, and whose `support`, a `Support`, or a dictionary of them, what the
            likelihood can score.
        enabled: False to let everything through unseen.
        is_training: whether the model is about to be trained, for which numbers should be about 1.
    """

    def __init__(self, model, enabled=True, is_training=False):
        self.model = model
        self.enabled = enabled
        self.is_training = is_training
        self.has_sparse = False  # whether a part of x is sparse, and stays so
        self.columns = {}  # names of columns, by what the part is called
        self.error = None
        self.has_met_missing = self.has_seen_sizes = False
        self.said = set()  # warnings, each given once

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
            self._look_at(keras.utils.unpack_x_y_sample_weight(element)[0], name, index)
            return element

        if not self.enabled:
            return data
        if kinds.is_empty(data):
            raise kinds.empty(name)
        if kinds.is_dataset(data):
            return self._looked_at_dataset(data, name)
        if isinstance(data, keras.utils.PyDataset):
            return MappedPyDataset(data, look_at_batch)
        if isinstance(data, types.GeneratorType):
            return (look_at_batch(index, element) for index, element in enumerate(data))
        if kinds.holds_arrays(data):
            self._look_at(data, name)
        # Whatever else Keras takes (a torch DataLoader, say) goes through as it is.
        return data

    def targets(self, batch, given):
        """Warns of a y that was meant to be scored in place of x, before training.

        Args:
            batch: the first, or its specification, `(x, y, sample_weight)`; None where it is not known.
            given: the arguments of `fit`, by name.
        """
        if self.enabled and self.is_training and batch is not None:
            x, y, _ = batch
            advice = advice_on_targets(x, given.get("y") if y is None else y, given["x"], self.model.target)
            if advice is not None:
                self._warn("targets", advice)

    def weights(self, sample_weight):
        """Raises ValueError if an array of examples' weights holds a number that is not finite, or below 0."""
        if self.enabled:
            self._refuse(error_in(np.asarray(sample_weight), "sample_weight") or error_in_weights(sample_weight))

    def _look_at(self, x, name, batch=None):
        """Looks at arrays: all of them, or a batch of this number."""
        parts = [part._replace(value=as_looked_at(part.value)) for part in self._parts(x, name)]
        self._look_at_parts(parts, batch)
        self._try_missing(x, parts, batch)

    def _look_at_parts(self, parts, batch):
        where = "" if batch is None else f" of batch {batch}"
        for part in parts:
            if part.event_shape is not None:
                try:
                    contract.check_event(part.event_shape, part.value, part.name)
                except ValueError as error:
                    self._refuse(error)
            self._refuse(error_in(part.value, part.name, part.support, where))
        self._count_missing([part for part in parts if part.support is not None], where)
        if self.is_training and not batch and not self.has_seen_sizes:
            self.has_seen_sizes = True
            self._look_at_sizes(parts)

    def _look_at_sizes(self, parts):
        for part in parts if not self.model.known.is_adapted else ():
            advice = advice_on_size(part.value, part.name, part.support, self.columns.get(part.name))
            if advice is not None:
                self._warn(("size", part.name), advice)

    def _count_missing(self, parts, where):
        """Warns of examples of which nothing was observed, where entries may be missing."""
        if not parts or not all(part.support.may_be_missing and len(part.value) for part in parts):
            return
        missing = np.logical_and.reduce([missing_rows(part.value) for part in parts])
        if missing.any():
            self._warn(
                "missing",
                f"{parts[0].name}{where} has {int(missing.sum())} example(s) of which nothing was observed, the first "
                f"at position [{int(missing.argmax())}]. Their log-likelihood is 0: they say nothing, and training on "
                "them draws the posterior of nothing to the prior. Leave them out unless that is meant.",
            )

    def _try_missing(self, x, parts, batch):
        """Refuses the first example with a missing entry if the encoder makes no numbers of it."""
        scored = [part for part in parts if part.support is not None and part.support.may_be_missing]
        if self.has_met_missing or not scored or not self.model.built:
            return
        has_holes = np.logical_or.reduce([rows_with_holes(part.value) for part in scored])
        if not has_holes.any():
            return
        self.has_met_missing = True
        first = int(has_holes.argmax())
        example = keras.tree.map_structure(lambda leaf: np.asarray(leaf[first : first + 1]), x)

        def is_finite(example):
            return np.isfinite(np.asarray(centre(self.model.encode(example)))).all()

        # A model whose weights are NaN makes no numbers of anything.
        if not is_finite(example) and is_finite(keras.tree.map_structure(without_nan, example)):
            where = "" if batch is None else f" of batch {batch}"
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

    def _warn(self, what, message):
        if what not in self.said:
            self.said.add(what)
            warnings.warn(message, UserWarning, stacklevel=2)

    def _looked_at_dataset(self, dataset, name):
        """Looked at by TensorFlow, and in Python only where that finds something: most batches cost microseconds."""
        supports = keras.tree.flatten(self.model.support)
        if any(getattr(support, "may_be_missing", False) for support in supports):
            element = kinds.first_element(dataset)
            if element is not None:
                self._look_at(keras.utils.unpack_x_y_sample_weight(element)[0], name, batch=0)

        this = weakref.ref(self)  # TensorFlow keeps what it may call, and with it all that this holds

        def examine(element):
            x = keras.utils.unpack_x_y_sample_weight(element)[0]
            parts = [part for part in this()._parts(x, name) if dataset_check.is_dense_number(part.value)]
            blank = [part._replace(value=None) for part in parts]

            def look(index, *arrays):
                found = [part._replace(value=array) for part, array in zip(blank, arrays, strict=True)]
                this()._look_at_parts(found, index)

            return dataset_check.is_suspect(parts), [part.value for part in parts], look

        return dataset_check.inspect_dataset(dataset, examine, always_first=self.is_training)


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
