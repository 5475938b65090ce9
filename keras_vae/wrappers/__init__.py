"""A VAE as scikit-learn has its estimators. It needs scikit-learn, which `import keras_vae` does not ask for."""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  public since 1.6, as an estimator's tags are
except ImportError as error:
    raise ImportError(
        f"keras_vae.wrappers: expected scikit-learn 1.6 or newer; received: {error}. "
        'Install it: pip install "keras_vae[sklearn]"'
    ) from error

from keras_vae.wrappers.sklearn_vae import SKLearnVAE

__all__ = ["SKLearnVAE"]


def __dir__():
    return __all__
