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

    def _log_prob(self, x, **kwargs):
        event_shape = tuple(self.event_shape)
        shape = ops.shape(x)
        sample_shape = shape[: max(0, len(shape) - len(self._sizes) - len(event_shape))]
        flat = ops.reshape(
            ops.broadcast_to(x, (*sample_shape, *self._sizes, *event_shape)), (*sample_shape, -1, *event_shape)
        )
        return self._unflatten(self._flat.log_prob(flat, **kwargs), sample_shape)

    def _sample_n(self, n, seed=None, **kwargs):
        return self._unflatten(self._flat.sample(n, seed=seed, **kwargs), (n,), self.event_shape)

    def _mean(self, **kwargs):
        return self._unflatten(self._flat.mean(**kwargs), (), self.event_shape)

    def _mode(self, **kwargs):
        return self._unflatten(self._flat.mode(**kwargs), (), self.event_shape)

    def _stddev(self, **kwargs):
        return self._unflatten(self._flat.stddev(**kwargs), (), self.event_shape)

    def _variance(self, **kwargs):
        return self._unflatten(self._flat.variance(**kwargs), (), self.event_shape)

    def _entropy(self, **kwargs):
        return self._unflatten(self._flat.entropy(**kwargs))
