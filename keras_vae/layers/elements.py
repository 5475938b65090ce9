"""The density of each element of x, under distributions whose elements are independent."""


class DependentElements(ValueError):
    """Raised where a distribution is asked for the densities of its elements, which it has only together."""

    @classmethod
    def of(cls, distribution, why="density is one of all elements together"):
        """The error for a distribution, and what is the matter with its elements, after "received X, whose"."""
        return cls(
            "log_prob_of_elements: expected a distribution of independent elements, such as that of keras_vae.layers."
            f"IndependentNormal; received {type(distribution).__name__.strip('_')}, whose {why}. Ask for log_prob, "
            "or a VAE for log_likelihood."
        )


def log_prob_of_elements(distribution, x):
    """log p of each element of x, `[..., *batch, *event]`, which add up to `log_prob`.

    Raises:
        DependentElements: a ValueError, where elements are not independent, or are not known to be.
    """
    own = getattr(distribution, "log_prob_of_elements", None)
    if own is not None:
        return own(x)
    if hasattr(distribution, "reinterpreted_batch_ndims"):  # TFP's `Independent(...)` is of several classes
        distribution = distribution.distribution
    if distribution.event_shape.rank != 0:
        raise DependentElements.of(distribution)
    return distribution.log_prob(x)
