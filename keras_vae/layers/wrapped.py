"""What distributions share that change how another scores, and leave everything else to it."""

from keras_vae.backend import tfd


class Wrapped(tfd.Distribution):
    """`distribution`, seen through a class that overrides what it changes.

    Args:
        distribution: a `tfd.Distribution`.
        parameters: the subclass's arguments, by name.
        reparameterization_type: by default the distribution's.
    """

    def __init__(self, distribution, parameters, name, reparameterization_type=None):
        self._distribution = distribution
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=reparameterization_type or distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def distribution(self):
        """What everything is left to."""
        return self._distribution

    @property
    def support(self):
        """What values are scored."""
        return self._distribution.support

    def _log_prob(self, x):
        return self._distribution.log_prob(x)

    def _batch_shape(self):
        return self._distribution.batch_shape

    def _batch_shape_tensor(self):
        return self._distribution.batch_shape_tensor()

    def _event_shape(self):
        return self._distribution.event_shape

    def _event_shape_tensor(self):
        return self._distribution.event_shape_tensor()

    def _sample_n(self, n, seed=None):
        return self._distribution.sample(n, seed=seed)

    def _mean(self):
        return self._distribution.mean()

    def _mode(self):
        return self._distribution.mode()

    def _stddev(self):
        return self._distribution.stddev()

    def _variance(self):
        return self._distribution.variance()

    def _entropy(self):
        return self._distribution.entropy()
