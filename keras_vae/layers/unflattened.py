"""A distribution of batch [S * B] seen as one of batch [S, B], for a decoder that knows one batch axis."""

import keras
from keras import ops

from keras_vae.estimates import point_estimate
from keras_vae.layers.delegate import Delegate
from keras_vae.layers.elements import log_prob_of_elements
from keras_vae.layers.fitted import fitted


class UnflattenedDistribution(Delegate):
    """A distribution of batch `[N]`, with its batch axis seen as `batch_shape`.

    `log_prob` broadcasts as arithmetic does. (`tfd.BatchReshape` asks for x of the full batch shape, and for a batch
    size known while tracing.)

    Args:
        distribution: a `tfd.Distribution` of batch `[N]`, or `[N, *rest]`, whose further axes stay.
        batch_shape: integers, or scalar tensors where they are known only when run; their product is N.
    """

    def __init__(self, distribution, batch_shape, name=None):
        parameters = dict(locals())
        self._lead = tuple(batch_shape)
        self._rest = tuple(distribution.batch_shape[1:]) if distribution.batch_shape.rank else ()
        self._sizes = (*self._lead, *self._rest)
        super().__init__(distribution, parameters, name or f"Unflattened{distribution.name}")

    @property
    def rows(self):
        """The distribution of batch `[N]`."""
        return self._distribution

    @property
    def distribution(self):
        """What `rows.distribution` is, seen in this batch shape: of independent elements, each element's own.

        So `decode(z).distribution.log_prob(x)` is `[*batch, *event]`, for z of any number of batch axes.
        """
        within = self.rows.distribution
        return type(self)(within, self._lead) if within.batch_shape.rank else within

    @property
    def parts(self):
        """The parts of a distribution that has some, by name, each of this batch shape."""
        return {name: type(self)(part, self._lead) for name, part in self.rows.parts.items()}

    def of_events(self, answer, sample_shape=()):
        def unflattened(part, shape):
            return ops.reshape(part, (*sample_shape, *self._sizes, *shape))

        return self._by_part(unflattened, answer)

    def of_batch(self, answer, sample_shape=()):
        return ops.reshape(answer, (*sample_shape, *self._sizes))

    def log_prob_by_part(self, x):
        """log p of each part of x, by name, `[..., *batch]` each; empty where it is not of several parts."""
        if not hasattr(self.rows, "log_prob_by_part"):
            return {}
        flat, sample_shape = self._flattened(x)
        found = self.rows.log_prob_by_part(flat)
        return {name: self.of_batch(each, sample_shape) for name, each in found.items()}

    def log_prob_of_elements(self, x):
        flat, sample_shape = self._flattened(x)
        return self.of_events(log_prob_of_elements(self.rows, flat), sample_shape)

    def point_estimate(self, average=None):
        def unflattened(value):
            value = self._with_batch(value)
            return value if average is None else average(value)

        return point_estimate(self.rows, unflattened)

    def probabilities(self):
        return keras.tree.map_structure(self._with_batch, self.rows.probabilities())

    def _with_batch(self, value):
        """Reshapes `[N, ...]`, of any further axes, to the batch shape."""
        return ops.reshape(value, (*self._lead, *ops.shape(value)[1:]))

    def fitted_to(self, x):
        flat, _ = self._flattened(x)
        distribution, fits = fitted(self.rows, flat)
        return type(self)(distribution, self._lead), fits

    def _by_part(self, function, value):
        """Applies `function(part, event_shape)` to an event, or to each part of an event that is a dictionary."""
        if isinstance(value, dict):
            return {name: function(part, self.event_shape[name]) for name, part in value.items()}
        return function(value, self.event_shape)

    def _flattened(self, x):
        """Broadcasts events `[*sample, ..., *event]` to the batch.

        It returns them as `[*sample, N, *rest, *event]`, and the sample shape.
        """
        sample_shape = []

        def flattened(part, event_shape):
            event_shape, shape = tuple(event_shape), ops.shape(part)
            sample_shape[:] = shape[: max(0, len(shape) - len(self._sizes) - len(event_shape))]
            full = ops.broadcast_to(part, (*sample_shape, *self._sizes, *event_shape))
            return ops.reshape(full, (*sample_shape, -1, *self._rest, *event_shape))

        return self._by_part(flattened, x), tuple(sample_shape)

    def _log_prob(self, x, **kwargs):
        flat, sample_shape = self._flattened(x)
        return self.of_batch(self.rows.log_prob(flat, **kwargs), sample_shape)

    def _batch_shape(self):
        return [size if isinstance(size, int) else None for size in self._sizes]

    def _batch_shape_tensor(self):
        return ops.stack([ops.cast(size, "int32") for size in self._sizes]) if self._sizes else ops.zeros(0, "int32")
