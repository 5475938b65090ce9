"""Distributions that SciPy lacks, made of those that it has: the referees of some rows of cases.py."""

import numpy as np
import scipy.special
import scipy.stats


class Levels:
    """A frozen distribution over whole numbers from 0 on, from the table of their probabilities, `[..., levels]`."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.numbers = np.arange(probabilities.shape[-1])

    def _of(self, table, x):
        inside = np.clip(x, 0, len(self.numbers) - 1).astype(int)
        table, inside = np.broadcast_arrays(table, inside[..., np.newaxis])
        return np.where(x < 0, 0.0, np.take_along_axis(table, inside[..., :1], axis=-1)[..., 0])

    def pmf(self, x):
        return self._of(self.probabilities, x)

    def logpmf(self, x):
        return np.log(self.pmf(x))

    def cdf(self, x):
        return self._of(np.cumsum(self.probabilities, axis=-1), x)

    def mean(self):
        return (self.probabilities * self.numbers).sum(axis=-1)

    def var(self):
        return (self.probabilities * (self.numbers - self.mean()[..., np.newaxis]) ** 2).sum(axis=-1)

    def std(self):
        return np.sqrt(self.var())

    def entropy(self):
        return scipy.special.entr(self.probabilities).sum(axis=-1)


def table_of_levels(loc, scale, levels):
    """The probability of each level, `[..., levels]`: differences of SciPy's logistic cdf."""
    frozen = scipy.stats.logistic(loc[..., np.newaxis], scale[..., np.newaxis])
    ends = np.concatenate([[-np.inf], (np.arange(levels - 1) + 0.5) / (levels - 1), [np.inf]])
    return frozen.cdf(ends[1:]) - frozen.cdf(ends[:-1])


class ContinuousBernoulli:
    """SciPy's exponential distribution cut off at 1, seen from the side on which it falls."""

    def __init__(self, logits):
        self.falls = logits < 0
        rate = np.abs(logits)
        self.of_distance = scipy.stats.truncexpon(b=rate, scale=1 / rate)

    def _distance(self, x):
        return np.where(self.falls, x, 1 - x)

    def logpdf(self, x):
        return self.of_distance.logpdf(self._distance(x))

    def cdf(self, x):
        cdf = self.of_distance.cdf(self._distance(x))
        return np.where(self.falls, cdf, 1 - cdf)

    def _moment(self, power):
        # By quadrature: SciPy's own moments lose digits where the rate is small.
        nodes, weights = np.polynomial.legendre.leggauss(40)
        x = (nodes.reshape(-1, *(1 for _ in self.falls.shape)) + 1) / 2
        return np.tensordot(weights / 2, x**power * np.exp(self.logpdf(x)), axes=1)

    def mean(self):
        return self._moment(1)

    def var(self):
        return self._moment(2) - self._moment(1) ** 2

    def std(self):
        return np.sqrt(self.var())

    def entropy(self):
        return self.of_distance.entropy()


class ZeroInflated:
    """A frozen distribution of counts that is 0 instead with probability p."""

    def __init__(self, counts, p):
        self.counts, self.p = counts, p

    def pmf(self, x):
        return self.p * (x == 0) + (1 - self.p) * self.counts.pmf(x)

    def logpmf(self, x):
        return np.log(self.pmf(x))

    def cdf(self, x):
        return np.where(x < 0, 0.0, self.p + (1 - self.p) * self.counts.cdf(x))

    def mean(self):
        return (1 - self.p) * self.counts.mean()

    def var(self):
        square = self.counts.var() + self.counts.mean() ** 2
        return (1 - self.p) * square - self.mean() ** 2

    def std(self):
        return np.sqrt(self.var())

    def entropy(self):
        return scipy.special.entr(self.pmf(np.arange(20_000).reshape(-1, *(1 for _ in self.p.shape)))).sum(axis=0)
