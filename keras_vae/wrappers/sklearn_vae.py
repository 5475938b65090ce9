"""A VAE as a scikit-learn estimator: a density model, and a decomposition."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from keras_vae.checks import check_integer, check_positive
from keras_vae.wrappers import batches, recipes

FLOATS = [np.float64, np.float32]  # dtypes that results are returned in, as X has them

# What a recipe may be given.
OF_RECIPES = ("latent_dim", "units", "likelihood", "beta")

# XLA's programs take seconds longer to make, and gain them back over about so many steps of a small network.
STEPS_WORTH_XLA = 5000


class SKLearnVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """A VAE as scikit-learn has its estimators: for a `Pipeline`, `clone`, cross-validation and a grid search.

    It is a decomposition, as `PCA` and `FactorAnalysis` are. `transform` gives the means of q(z|x), and
    `inverse_transform` those of p(x|z). It is a density model, too, as `KernelDensity` and `GaussianMixture` are:

        score_samples(x) = log p(x) ~= log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),    z_s ~ q(z|x)

    in nats a row, a density of X as it is given, in its units. `score` is the mean over rows, as of `FactorAnalysis`.

        estimator = keras_vae.wrappers.SKLearnVAE(latent_dim=2, epochs=2, random_state=0)
        z = estimator.fit_transform(x)  # [64, 2]
        estimator.inverse_transform(z)  # [64, 13]
        estimator.score_samples(x)  # [64], nats
        estimator.sample(5, random_state=0)  # [5, 13]

    By default it is a VAE for tables: multilayer perceptrons, and a Gaussian likelihood with a learned sigma for each
    feature. Without hidden layers, `units=()`, this is factor analysis.

    It standardises X itself, wherever the likelihood scores all real numbers. `score_samples` accounts for that, by the
    change of variables. X as counts, say, is scored as it is, and standardised for the encoder alone. NaN is an entry
    that was not observed, under a likelihood of independent elements: see `keras_vae.layers.Masked`.

    A `model` of one's own gives any encoder, decoder, prior and objective. It is called with X, and with those of
    `latent_dim`, `units`, `likelihood` and `beta` that its signature names. It returns a VAE of rows `[B, n_features]`,
    which is given X as it is: a `StandardScaler` goes before it in a `Pipeline`.

        def linear(X, latent_dim):
            encoder = keras.Sequential([keras_vae.layers.IndependentNormal(latent_dim)])
            decoder = keras.Sequential([keras_vae.layers.IndependentNormal(X.shape[1])])
            return keras_vae.VAE(encoder, decoder)


        keras_vae.wrappers.SKLearnVAE(linear, latent_dim=3, epochs=1).fit(x)

    Args:
        model: None, or a callable that makes a VAE for X. A VAE that it has compiled keeps its optimizer.
        latent_dim: how many latents, an integer.
        units: sizes of the encoder's hidden layers, an integer or a tuple of them; the decoder's are in reverse.
        likelihood: a callable that makes a distribution layer of the number of features, such as
            `keras_vae.layers.IndependentBernoulli`. Default: a Gaussian of `keras_vae.scales.PerDimension()`.
        beta: the KL's weight, a number or a schedule: see `keras_vae.objectives.ELBO`.
        learning_rate: Adam's.
        epochs, batch_size, verbose: as of `keras.Model.fit`.
        num_samples: S, how many draws an estimate of log p(x) takes.
        random_state: an integer, a `numpy.random.RandomState`, or None for NumPy's generator. It seeds the weights,
            the noise of the latents, the order of the rows, and `score_samples`.

    Attributes:
        vae_: the fitted `keras_vae.VAE`, of `scaler_.transform(X)`.
        scaler_: a `StandardScaler`, which leaves X as it is where the VAE is given X as it is.
        history_: `{"loss": [...], "elbo": [...], ...}`, a number an epoch, for X as the VAE was given it.
        seed_: what the weights, the noise and `score_samples` are seeded with.
        n_features_in_, feature_names_in_: as of scikit-learn's estimators.

    Raises:
        ValueError: in `fit`, an argument is not as above, or has no part in `model`; X is not finite, or outside what
            the likelihood scores.
    """

    def __init__(
        self,
        model: Callable | None = None,
        *,
        latent_dim: int = 8,
        units: int | tuple[int, ...] = (64, 64),
        likelihood: Callable | None = None,
        beta: Any = 1.0,
        learning_rate: float = 3e-3,
        epochs: int = 200,
        batch_size: int = 32,
        num_samples: int = 500,
        random_state: Any = None,
        verbose: int | str = 0,
    ):
        self.model = model
        self.latent_dim = latent_dim
        self.units = units
        self.likelihood = likelihood
        self.beta = beta
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.num_samples = num_samples
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = [np.dtype(each).name for each in FLOATS]
        return tags

    def fit(self, X, y=None, *, validation_split: float = 0.0, callbacks: Any = None):
        """Makes a VAE and trains it on X `[N, n_features]`; y is ignored.

        Rows of which nothing was observed are left out.

        Args:
            X: an array or a DataFrame of numbers.
            y: ignored.
            validation_split, callbacks: as of `keras.Model.fit`.
        """
        epochs = check_integer("SKLearnVAE", "epochs", self.epochs)
        batch_size = check_integer("SKLearnVAE", "batch_size", self.batch_size)
        check_integer("SKLearnVAE", "num_samples", self.num_samples)
        check_positive("SKLearnVAE", "learning_rate", self.learning_rate)
        X = self._validated(X, reset=True)
        X = X[~np.isnan(X).all(axis=1)]
        if not len(X):
            raise ValueError("SKLearnVAE: expected X to have an entry that was observed; received only missing ones")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with recipes.seeded(seed):
            vae = self._make(X, math.ceil(len(X) / batch_size) * epochs)
        standardizes = self.model is None and recipes.is_of_any_number(vae.support)
        scaler = StandardScaler(with_mean=standardizes, with_std=standardizes).fit(X)
        scaler.set_output(transform="default")  # arrays, whatever scikit-learn is set to give users
        history = vae.fit(
            scaled(scaler, X),
            batch_size=batch_size,
            epochs=epochs,
            verbose=self.verbose,
            validation_split=validation_split,
            callbacks=callbacks,
        )
        # Together: a fit that fails leaves what was fitted before.
        self.vae_, self.scaler_, self.seed_, self.history_ = vae, scaler, seed, history.history
        return self

    def transform(self, X):
        """The means of q(z|x), `[N, latent]`, in the dtype of X; latents of several axes are flattened."""
        check_is_fitted(self, "vae_")
        X = self._validated(X)
        return batches.posterior_means(self.vae_, scaled(self.scaler_, X)).reshape(len(X), -1).astype(X.dtype)

    def inverse_transform(self, X):
        """The means of p(x|z) for latents X `[N, latent]`, as `transform` gives them: `[N, n_features]`, X's units."""
        check_is_fitted(self, "vae_")
        X = check_array(X, dtype=FLOATS)
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"SKLearnVAE.inverse_transform: expected {self._n_features_out} latents a row, as `transform` gives "
                f"them; received: {X.shape[1]}"
            )
        z = X.reshape(-1, *self.vae_.prior.latent_shape).astype("float32")
        return self._unscaled(batches.likelihood_means(self.vae_, z)).astype(X.dtype)

    def score_samples(self, X):
        """log p(x) of each row, `[N]`, nats, of X in its own units; of what was observed, where some is missing.

        All rows are scored with the same `num_samples` draws of noise: equal rows have equal scores, wherever they
        stand, and each call gives the same. So the rows' errors are alike, and `score` does not average them out. In
        expectation the estimate is a lower bound, which tightens as `num_samples` grows.
        """
        check_is_fitted(self, "vae_")
        num_samples = check_integer("SKLearnVAE", "num_samples", self.num_samples)
        X = self._validated(X)
        density = batches.log_likelihood(self.vae_, scaled(self.scaler_, X), num_samples, self.seed_).astype("float64")
        if self.scaler_.scale_ is None:
            return density
        # log |dz/dx| = -sum log sigma_i, over what was observed.
        return density - np.where(np.isnan(X), 0.0, np.log(self.scaler_.scale_)).sum(axis=1)

    def score(self, X, y=None) -> float:
        """The mean over rows of `score_samples(X)`, nats; y is ignored."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None):
        """Draws x ~ p(x|z), z ~ p(z): `[n_samples, n_features]`, in X's units.

        Args:
            n_samples: how many.
            random_state: an integer, a `numpy.random.RandomState`, or None for NumPy's generator.
        """
        check_is_fitted(self, "vae_")
        n_samples = check_integer("SKLearnVAE.sample", "n_samples", n_samples)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return self._unscaled(self.vae_.generate(n_samples, seed=seed, sample=True))

    @property
    def _n_features_out(self):
        # By which scikit-learn names what `transform` gives.
        return math.prod(self.vae_.prior.latent_shape)

    def _validated(self, X, reset=False):
        return validate_data(self, X, reset=reset, dtype=FLOATS, ensure_all_finite="allow-nan")

    def _unscaled(self, x):
        return self.scaler_.inverse_transform(np.asarray(x, "float64"))

    def _make(self, X, steps):
        """A VAE for X, built and compiled."""
        signature = inspect.signature(SKLearnVAE.__init__).parameters
        defaults = {name: each.default for name, each in signature.items()}
        given = {name: getattr(self, name) for name in OF_RECIPES}
        vae = recipes.made_by(recipes.tabular_vae if self.model is None else self.model, X, given, defaults)
        vae.build(X.shape)
        if vae.compiled:
            given = {"learning_rate": self.learning_rate}
            recipes.check_at_defaults(given, defaults, "`model` leaves its VAE to be compiled")
        else:
            adam = keras.optimizers.Adam(self.learning_rate)
            vae.compile(adam, jit_compile="auto" if steps >= STEPS_WORTH_XLA else False)
        return vae


def scaled(scaler, X):
    """X as a VAE is given it: standardised in float64, where what is left of a large offset is still exact."""
    return scaler.transform(X.astype("float64")).astype("float32")
