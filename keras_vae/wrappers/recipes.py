"""How `SKLearnVAE` comes by a VAE for its X: the recipe for tables, and how a recipe of a user's own is called."""

import contextlib
import inspect
import math
import random
import threading

import keras
import numpy as np
from keras import layers
from sklearn.preprocessing import StandardScaler

from keras_vae.checks import check_integer, is_integer
from keras_vae.layers import Impute, IndependentNormal, Masked
from keras_vae.objectives import ELBO
from keras_vae.scales import PerDimension
from keras_vae.vae import VAE

# Python's generator is the process's: one thread at a time has it.
_seeding = threading.Lock()


def tabular_vae(X, latent_dim, units, likelihood, beta):
    """A VAE for rows of numbers, whose networks are multilayer perceptrons: what `SKLearnVAE(model=None)` fits.

    NaN is an entry that was not observed, where the likelihood is one of independent elements.

    Args:
        X: `[N, n_features]`, a NumPy array.
        latent_dim, units, likelihood, beta: as of `SKLearnVAE`.
    """
    latent_dim, units = check_integer("SKLearnVAE", "latent_dim", latent_dim), check_units(units)
    scored = likelihood_of(X.shape[1], likelihood)
    # Built by what the decoder will give it: only a distribution says what it scores, and whether it can be masked.
    distribution = scored(np.zeros((1, [latent_dim, *units[::-1]][-1]), "float32"))
    first = [] if is_of_any_number(getattr(distribution, "support", None)) else [standardizing_layer(X)]
    if hasattr(distribution, "log_prob_of_observed"):
        scored = Masked(scored)
        # Told apart from the mean only where some are missing: else the encoder has nothing to learn that from.
        first.append(Impute(mask=bool(np.isnan(X).any())))
    encoder = keras.Sequential([*first, *(layers.Dense(n, "relu") for n in units), IndependentNormal(latent_dim)])
    decoder = keras.Sequential([*(layers.Dense(n, "relu") for n in units[::-1]), scored])
    return VAE(encoder, decoder, objective=ELBO(beta=beta))


def likelihood_of(size, likelihood):
    """The layer that ends the decoder for `size` features, made by `likelihood`, a callable, or the default.

    Raises:
        ValueError: it is no callable, or makes no layer.
    """
    if likelihood is None:
        return IndependentNormal(size, scale=PerDimension())
    made = likelihood(size) if callable(likelihood) else None
    if not isinstance(made, keras.Layer):
        found = f"it made: {made!r}" if callable(likelihood) else f"received: {likelihood!r}"
        raise ValueError(
            "SKLearnVAE: expected `likelihood` to be a callable that is given the number of features, and makes a "
            f"distribution layer, such as keras_vae.layers.IndependentBernoulli; {found}"
        )
    return made


def check_units(units):
    """`units` as a list of the hidden layers' sizes, if it is an integer or some of them.

    Raises:
        ValueError: it is not.
    """
    sizes = [units] if is_integer(units) else units
    if not isinstance(sizes, (list, tuple)) or not all(is_integer(size) and size >= 1 for size in sizes):
        raise ValueError(
            "SKLearnVAE: expected `units` to be the sizes of the encoder's hidden layers, a tuple of integers >= 1; "
            f"received: {units!r}"
        )
    return [int(size) for size in sizes]


def is_of_any_number(support):
    """Whether a likelihood scores all real numbers, so that X may be standardised."""
    return support is not None and math.isinf(support.low) and math.isinf(support.high) and not support.is_integer


def standardizing_layer(X):
    """A layer that standardises rows for an encoder, where the likelihood scores them as they are."""
    scaler = StandardScaler().fit(X)
    mean, deviation = np.nan_to_num(scaler.mean_), np.nan_to_num(scaler.scale_, nan=1.0)
    return layers.Rescaling((1.0 / deviation).tolist(), (-mean / deviation).tolist())


def made_by(model, X, given, defaults):
    """The VAE that a recipe makes for X.

    Args:
        model: the recipe, a callable.
        X: `[N, n_features]`.
        given: the estimator's arguments by name. A recipe is given those that its signature names.
        defaults: what they are by default.

    Raises:
        ValueError: an argument that is not at its default has no part in the recipe; it made something else.
    """
    if not callable(model):
        raise ValueError(
            "SKLearnVAE: expected `model` to be None or a callable that is given X and returns a keras_vae.VAE; "
            f"received: {model!r}"
        )
    parameters = inspect.signature(model).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    taken = {name: value for name, value in given.items() if takes_all or name in parameters}
    check_at_defaults({name: value for name, value in given.items() if name not in taken}, defaults, "`model` names it")
    vae = model(X, **taken)
    if not isinstance(vae, VAE):
        raise ValueError(f"SKLearnVAE: expected `model` to return a keras_vae.VAE; it returned: {vae!r}")
    return vae


def check_at_defaults(given, defaults, condition):
    """Raises ValueError unless these arguments are at their defaults, as those that have no effect must be."""
    for name, value in given.items():
        if value is not defaults[name] and value != defaults[name]:
            raise ValueError(
                f"SKLearnVAE: expected `{name}` at its default, {defaults[name]!r}, unless {condition}; "
                f"received: {value!r}, which would have no effect"
            )


@contextlib.contextmanager
def seeded(seed):
    """Within, layers, initializers and VAEs that have no seed of their own have one that comes from `seed`.

    Keras draws them from Python's generator, which is put back as it was.
    """
    with _seeding:
        before = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
