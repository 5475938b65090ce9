"""The base class of distributions that pass most questions on to another distribution."""

from keras_vae.backend import tfd
from keras_vae.estimates import point_estimate
from keras_vae.layers.elements import log_prob_of_elements


class Delegate(tfd.Distribution):
    """A distribution that asks another one for its densities, draws, moments and entropy.

    A subclass changes the answers by three hooks. `ask` says which distribution is asked, `of_events` converts draws
    and moments, and `of_batch` converts densities and entropies.

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
        """The distribution that the questions are passed on to."""
        return self._distribution

    @property
    def support(self):
        """The values that are scored, a `Support`, or None where that is not known."""
        return getattr(self._distribution, "support", None)

    def fitted_to(self, x):
        """This distribution with its sigma fitted to x, and a list of the fits: see `keras_vae.layers.fitted`."""
        return self, []

    def log_prob_of_elements(self, x):
        """log p of each element of x, `[..., *batch, *event]`.

        Raises:
            ValueError: the elements are not independent.
        """
        return self.ask(lambda distribution: log_prob_of_elements(distribution, x))

    def point_estimate(self, average=None):
        """What it predicts: see `keras_vae.estimates.point_estimate`."""
        return self.ask(lambda distribution: point_estimate(distribution, average))

    def probabilities(self):
        """The probability of each category, `[*batch, *event, levels]`, of a distribution of categories.

        Raises:
            AttributeError: it is of something else.
        """
        return self.ask(lambda distribution: distribution.probabilities())

    def ask(self, question):
        """Asks the other distribution a question, which is a function of a distribution, and returns the answer."""
        return question(self._distribution)

    def of_events(self, answer, sample_shape=()):
        """Converts an answer that is an event, or several of a `sample_shape`, to this distribution's."""
        return answer

    def of_batch(self, answer, sample_shape=()):
        """Converts an answer that is a number for each example to this distribution's."""
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
