"""Student's t distribution with independent coordinates, a likelihood that outliers hardly move."""

import math
import numbers

import keras
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data.support import Support
from keras_vae.layers.independent import IndependentDistribution
from keras_vae.layers.location_scale import LocationScaleLayer, fixed_point

# Below, draws have no mean to reconstruct by.
LEAST_DF = 1.0

# Tails that outliers fit in, and data without them tells from a Gaussian's.
INITIAL_DF = 10.0


class IndependentStudentTDistribution(IndependentDistribution):
    """Independent Student-t variables.

    Args:
        df: nu, the degrees of freedom, above 1; broadcastable with `loc`.
        loc: mu, `[..., *event]`.
        log_scale: log sigma, broadcastable with `loc`.
        event_ndims: how many trailing axes make up one event.
    """

    tensors = ("df", "loc", "log_scale")
    support = Support("IndependentStudentT", "real numbers")

    def __init__(self, df, loc, log_scale, event_ndims, name="StudentT"):
        elements = tfd.StudentT(df, loc, ops.exp(log_scale))
        super().__init__(elements, event_ndims, name, df=df, loc=loc, log_scale=log_scale)

    def best_log_scale(self, x, mean):
        """The log sigma at which x is likeliest, found as a fixed point. `mean` averages what shares sigma.

            sigma^2 = mean w (x - mu)^2,    w = (nu + 1) / (nu + (x - mu)^2 / sigma^2)

        Outliers make w small.
        """
        square = ops.square(ops.clip(x - self.loc, -1e18, 1e18))  # finite
        df = ops.stop_gradient(self.df)

        def weighted(variance):
            return mean(square * (df + 1.0) / (df + square / variance))

        return 0.5 * fixed_point(weighted, mean(square))


@keras.saving.register_keras_serializable("keras_vae")
class IndependentStudentT(LocationScaleLayer):
    """Student's t distribution with independent coordinates: real-valued data with outliers.

        log p(x) = sum_i [ log G((nu + 1) / 2) - log G(nu / 2) - log(pi nu) / 2 - log sigma_i
                           - (nu + 1) / 2 log(1 + (x_i - mu_i)^2 / (nu sigma_i^2)) ],    G the gamma function

    A large error e costs (nu + 1) log |e|, so that one absurd value hardly moves mu. At nu -> infinity it is the
    Gaussian. (Lange, Little & Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989.) The
    `scale` gives sigma. The standard deviation is sigma sqrt(nu / (nu - 2)) for nu > 2, and else infinite.

        likelihood = keras_vae.layers.IndependentStudentT(13, scale=keras_vae.scales.Shared())
        decoder = keras.Sequential([layers.Dense(64, "relu"), likelihood])

    Args:
        event_shape, scale, activation, projection: as of `LocationScaleLayer`.
        df: nu, a number above 1, where the mean exists. None, the default, to learn it: one for the whole event, which
            starts at 10; `layer.df_value()` reads it.

    Returns:
        When called on `[B, *features]`: a `tfd.Independent` of batch `[B]` and event `event_shape`.

    Raises:
        ValueError: `df` is not a finite number above 1; or as `LocationScaleLayer`.
    """

    family = IndependentStudentTDistribution

    def __init__(self, event_shape, scale=None, df=None, activation=None, projection=True, **kwargs):
        super().__init__(event_shape, scale=scale, activation=activation, projection=projection, **kwargs)
        is_number = isinstance(df, numbers.Real) and not isinstance(df, bool)
        if df is not None and not (is_number and LEAST_DF < df < math.inf):
            raise ValueError(
                f"IndependentStudentT: expected `df` to be None or a finite number above 1, where the mean exists; "
                f"received: {df!r}"
            )
        self.df = None if df is None else float(df)

    def build(self, input_shape):
        if self.df is None:
            self.raw_df = self.add_weight(shape=(), initializer="zeros", autocast=False, name="raw_df")
        super().build(input_shape)

    def sigma_of(self, moments):
        if self.df is None:
            self.raw_df.assign(0.0)
            df = INITIAL_DF
        else:
            df = max(self.df, 3.0)  # with fewer, moments say little: of infinite variance, or nearly so
        return moments.stddev * math.sqrt((df - 2.0) / df), moments.count

    def df_value(self):
        """The nu that was given, or the tensor that is learned, 1 + 9 exp(raw)."""
        if self.df is not None:
            return self.df
        # From the Cauchy distribution, nearly, to 1,300, a Gaussian by any data: further out float32 knows no slope.
        return LEAST_DF + (INITIAL_DF - LEAST_DF) * ops.exp(ops.clip(ops.convert_to_tensor(self.raw_df), -5.0, 5.0))

    def with_scale(self, location, log_scale):
        df = ops.convert_to_tensor(self.df_value(), dtype=location.dtype)
        return IndependentStudentTDistribution(df, location, log_scale, event_ndims=len(self.event_shape))

    def learned_values(self):
        is_learned = self.built and self.df is None
        return {**super().learned_values(), **({"df": self.df_value()} if is_learned else {})}

    def get_config(self):
        return {**super().get_config(), "df": self.df}
