"""What distributions share that leave most of what they are asked to others."""

from keras_vae.backend import tfd


class Delegate(tfd.Distribution):
    """A distribution that leaves everything to another, but for what a subclass overrides.

    Three hooks say how an answer becomes this distribution's: `ask` whom, `of_events` for draws and moments, and
    `of_batch` for densities and entropies.

    Args:
        distribution: a `tfd.Distribution`.
        parameters: the subclass's arguments, by name.
        name: this distribution's.
        reparameterization_type, dtype: by default the distribution's.
    """

    def __init__(self, distribution, parameters, name, reparameterization_type=None, dtype=None):
        self._distribution = distribution
        super().__init__(
            dtype=dtype or distribution.dtype,
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
        """What values are scored, where that is known: a `Support`."""
        return getattr(self._distribution, "support", None)

    def fitted_to(self, x):
        """This distribution, with a sigma that is fitted to x, and the fits: see `keras_vae.layers.fitted`."""
        return self, []

    def ask(self, question):
        """The answer to a question, a function of a distribution."""
        return question(self._distribution)

    def of_events(self, answer, sample_shape=()):
        """What an answer that is an event, or several of a `sample_shape`, is here."""
        return answer

    def of_batch(self, answer, sample_shape=()):
        """What an answer that is a number for each example is here."""
        return answer

    def _log_prob(self, x, **kwargs):
        return self.of_batch(self.ask(lambda distribution: distribution.log_prob(x, **kwargs)))

    def _batch_shape(self):
        return self._distribution.batch_shape

    def _batch_shape_tensor(self):
        return self._distribution.batch_shape_tensor()

    def _event_shape(self):
        return self.ask(lambda distribution: distribution.event_shape)

    def _event_shape_tensor(self):
        return self.ask(lambda distribution: distribution.event_shape_tensor())

    def _sample_n(self, n, seed=None, **kwargs):
        return self.of_events(self.ask(lambda distribution: distribution.sample(n, seed=seed, **kwargs)), (n,))

    def _mean(self, **kwargs):
        return self.of_events(self.ask(lambda distribution: distribution.mean(**kwargs)))

    def _mode(self, **kwargs):
        return self.of_events(self.ask(lambda distribution: distribution.mode(**kwargs)))

    def _stddev(self, **kwargs):
        return self.of_events(self.ask(lambda distribution: distribution.stddev(**kwargs)))

    def _variance(self, **kwargs):
        return self.of_events(self.ask(lambda distribution: distribution.variance(**kwargs)))

    def _entropy(self, **kwargs):
        return self.of_batch(self.ask(lambda distribution: distribution.entropy(**kwargs)))
