"""A distribution of batch [S * B] seen as batch [S, B], for a decoder that knows one batch axis."""

from keras import ops

from keras_vae.backend import tfd


class Unflattened(tfd.Distribution):
    """`distribution`, of batch `[N]`, with its batch axis seen as `batch_shape`; `log_prob` broadcasts as arithmetic
    does.

    (`tfd.BatchReshape` asks for x of the full batch shape, and for a batch size known while tracing.)

    Args:
        distribution: a `tfd.Distribution` of batch `[N]`.
        batch_shape: integers, or scalar tensors where they are known only when run; their product is N.
    """

    def __init__(self, distribution, batch_shape, name=None):
        parameters = dict(locals())
        self._flat = distribution
        self._sizes = tuple(batch_shape)
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=parameters,
            name=name or f"Unflattened{distribution.name}",
        )

    @property
    def distribution(self):
        """The distribution of batch `[N]`."""
        return self._flat

    def _batch_shape(self):
        return [size if isinstance(size, int) else None for size in self._sizes]

    def _batch_shape_tensor(self):
        return ops.stack([ops.cast(size, "int32") for size in self._sizes]) if self._sizes else ops.zeros(0, "int32")

    def _event_shape(self):
        return self._flat.event_shape

    def _event_shape_tensor(self):
        return self._flat.event_shape_tensor()

    def _unflatten(self, value, sample_shape=(), event_shape=()):
        return ops.reshape(value, (*sample_shape, *self._sizes, *event_shape))

    def _unflatten_events(self, value, sample_shape=()):
        """As `_unflatten`, of events, or of a dictionary of them."""
        if isinstance(value, dict):
            return {name: self._unflatten(part, sample_shape, self.event_shape[name]) for name, part in value.items()}
        return self._unflatten(value, sample_shape, self.event_shape)

    def _flatten_events(self, x, event_shape):
        """Events `[*sample, ..., *event]`, broadcast to the batch, as `[*sample, N, *event]`, and the sample shape."""
        event_shape = tuple(event_shape)
        shape = ops.shape(x)
        sample_shape = shape[: max(0, len(shape) - len(self._sizes) - len(event_shape))]
        full = ops.broadcast_to(x, (*sample_shape, *self._sizes, *event_shape))
        return ops.reshape(full, (*sample_shape, -1, *event_shape)), sample_shape

    def _log_prob(self, x, **kwargs):
        if isinstance(x, dict):
            parts = {name: self._flatten_events(part, self.event_shape[name]) for name, part in x.items()}
            flat, sample_shape = {name: part for name, (part, _) in parts.items()}, next(iter(parts.values()))[1]
        else:
            flat, sample_shape = self._flatten_events(x, self.event_shape)
        return self._unflatten(self._flat.log_prob(flat, **kwargs), sample_shape)

    def _sample_n(self, n, seed=None, **kwargs):
        return self._unflatten_events(self._flat.sample(n, seed=seed, **kwargs), (n,))

    def _mean(self, **kwargs):
        return self._unflatten_events(self._flat.mean(**kwargs))

    def _mode(self, **kwargs):
        return self._unflatten_events(self._flat.mode(**kwargs))

    def _stddev(self, **kwargs):
        return self._unflatten_events(self._flat.stddev(**kwargs))

    def _variance(self, **kwargs):
        return self._unflatten_events(self._flat.variance(**kwargs))

    def _entropy(self, **kwargs):
        return self._unflatten(self._flat.entropy(**kwargs))
