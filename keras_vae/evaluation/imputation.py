"""What is missing of x, given what was observed of it: its expectation, or draws of it."""

import keras
import numpy as np
from keras import ops

from keras_vae import backend
from keras_vae.backend import tfd
from keras_vae.checks import check_integer
from keras_vae.data import kinds
from keras_vae.data.intake import as_arrays, one_array
from keras_vae.data.parts import pick, replace
from keras_vae.estimates import centre, probabilities_of
from keras_vae.evaluation.log_likelihood import RunningMaximum, weighted_draws
from keras_vae.evaluation.over_data import Reader, read


class Imputer(Reader):
    """Gives the expectation of x under p(x_missing|x_observed), by self-normalised importance weights.

        E[x_missing|x_observed] ~= sum_s w_s E[x_missing|z_s],
        w_s proportional to p(x_observed|z_s) p(z_s) / q(z_s|x_observed),    z_s ~ q(z|x_observed)

    Mattei & Frellsen, "MIWAE" (arXiv 1812.02633), equation 12. For categories it is the likeliest, by the weighted mean
    of their probabilities.

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
    """

    def answer(self, x, num_samples, seed):
        vae = self.vae
        posterior, x = vae.encode(x), vae.target_of(x)
        seed = backend.seed_for_rows(seed, posterior)

        def add_block(start, peak, total, *sums):
            _, likelihood, weights = weighted_draws(vae, x, posterior, start, num_samples, seed, self.block)
            largest, factor, shares = RunningMaximum(peak, total).after(weights)
            found = keras.tree.flatten(statistics_of(likelihood))
            sums = (
                before * alike(factor, before) + ops.sum(each * alike(shares, each), axis=0)
                for before, each in zip(sums, found, strict=True)
            )
            return start + self.block, *largest, *sums

        none = RunningMaximum.of_none(ops.zeros(ops.shape(keras.tree.flatten(x)[0])[:1], vae.dtype_scored))
        one = statistics_of(vae.decode(posterior.sample(seed=seed)))  # for its shapes
        nothing = map(ops.zeros_like, keras.tree.flatten(one))
        _, _, total, *sums = ops.while_loop(
            lambda start, *state: start < num_samples, add_block, (ops.zeros((), "int32"), *none, *nothing)
        )
        means = keras.tree.pack_sequence_as(one, [each / alike(total, each) for each in sums])
        return filled(x, decided(means, x))


class MultipleImputer(Reader):
    """Gives M draws from p(x_missing|x_observed), by sampling importance resampling, `[N, M, *event]`.

        z_m ~ the z_s by their weights w_s,    x_m ~ p(x|z_m)

    The weights are those of `Imputer`. (Rubin, 1988; section 3.3 of MIWAE, arXiv 1812.02633.) A draw is picked as the
    largest of log w_s + g_s, of Gumbel noise g, so that nothing but the largest so far is kept.

    Args:
        vae: the `VAE`.
        block: draws an example that go through the decoder at once.
        num_imputations: M.
    """

    def __init__(self, vae, block=1, num_imputations=1, **kwargs):
        super().__init__(vae, block, **kwargs)
        self.num_imputations = num_imputations

    def answer(self, x, num_samples, seed):
        vae, of_imputations = self.vae, self.num_imputations
        posterior, x = vae.encode(x), vae.target_of(x)
        own_seed = backend.fold_in(seed, backend.first_row())  # a replica's, for noise that does not go by row
        seed = backend.seed_for_rows(seed, posterior)
        event_seed, gumbel_seed = backend.fold_in(own_seed, -1), backend.fold_in(own_seed, -2)

        def add_block(start, highest, picked):
            z, _, weights = weighted_draws(vae, x, posterior, start, num_samples, seed, self.block)
            shape = (self.block, of_imputations, ops.shape(weights)[1])
            noise = tfd.Gumbel(ops.zeros((), weights.dtype), 1.0).sample(shape, backend.fold_in(gumbel_seed, start))
            keys = weights[:, None, :] + noise  # [block, M, B]
            best = ops.one_hot(ops.argmax(keys, axis=0), self.block, axis=0, dtype=z.dtype)
            flat = ops.reshape(z, (self.block, shape[2], -1))
            of_block = ops.einsum("smb,sbd->mbd", best, flat)
            is_higher = ops.max(keys, axis=0) > highest
            return (
                start + self.block,
                ops.where(is_higher, ops.max(keys, axis=0), highest),
                ops.where(is_higher[..., None], of_block, picked),
            )

        one = posterior.sample(of_imputations, seed=seed)  # [M, B, *latent]
        highest = ops.zeros(ops.shape(one)[:2], vae.dtype_scored) - float("inf")
        picked = ops.reshape(one, (*ops.shape(one)[:2], -1))
        _, _, picked = ops.while_loop(
            lambda start, *state: start < num_samples, add_block, (ops.zeros((), "int32"), highest, picked)
        )
        drawn = vae.decode(ops.reshape(picked, ops.shape(one))).sample(seed=event_seed)
        found = filled(x, drawn)
        return keras.tree.map_structure(lambda part: ops.swapaxes(part, 0, 1), found)


def alike(weight, value):
    """Weights `[..., B]` with axes for each of the value's `[..., B, ...]` that they lack."""
    return ops.reshape(weight, (*ops.shape(weight), *[1] * (len(value.shape) - len(weight.shape))))


def statistics_of(likelihood):
    """What is averaged to predict x: means, or of categories the probabilities; by name for several parts."""
    means, probabilities = centre(likelihood), probabilities_of(likelihood)
    if isinstance(means, dict):
        return {**means, **(probabilities or {})}
    return means if probabilities is None else probabilities


def decided(statistics, x):
    """What averages of `statistics_of` predict of x: those of categories, with an axis more than x, the likeliest."""

    def decide(part, x):
        return part if len(part.shape) == len(x.shape) else ops.cast(ops.argmax(part, axis=-1), x.dtype)

    return keras.tree.map_structure(decide, statistics, x)


def filled(x, found):
    """x with what was found in place of NaN, part by part."""

    def fill(part, each):
        return ops.where(ops.isnan(part), ops.cast(each, part.dtype), part)

    return keras.tree.map_structure(fill, x, found)


def impute(vae, x, num_imputations=None, **options):
    """x with what is missing of it filled in: see `keras_vae.inference.Inference.impute`."""
    if not vae.built:
        raise ValueError("impute: expected a built model; received one that has not seen data. Call `fit` first.")
    if not any(getattr(each, "may_be_missing", False) for each in keras.tree.flatten(vae.support)):
        raise ValueError(
            "impute: expected a decoder that scores data with missing entries, by keras_vae.layers.Masked(...); "
            "received one under which NaN has no likelihood."
        )
    options["name"] = "impute"
    if num_imputations is None:
        return as_given(x, read(vae, Imputer, x, **options), vae.target)
    num_imputations = check_integer("impute", "num_imputations", num_imputations)
    found = read(vae, MultipleImputer, x, **options, of_reader={"num_imputations": num_imputations})
    each = [keras.tree.map_structure(lambda part, m=m: part[:, m], found) for m in range(num_imputations)]
    return [as_given(x, one, vae.target) for one in each]


def as_given(x, found, target=None):
    """The x that was given, of its own kind, with the scored part as it was found; of a stream that part alone."""
    x = one_array(x)
    if not kinds.holds_arrays(as_arrays(x)):
        return found
    scored = pick(x, target)
    if isinstance(scored, dict):
        value = {name: with_gaps_filled(part, found[name]) for name, part in scored.items()}
    else:
        value = with_gaps_filled(scored, found)
    return replace(x, value, target)


def with_gaps_filled(part, found):
    """An array, a data frame or a series with numbers in its gaps. What was observed stays to the last digit."""
    if hasattr(part, "isetitem"):  # pandas' data frame: of a column without a gap the dtype stays, too
        part = part.copy()
        for index in range(part.shape[1]):
            column = part.iloc[:, index]
            if column.isna().any():
                part.isetitem(index, with_gaps_filled(column, found[:, index]))
        return part
    array = np.asarray(as_arrays(part))
    array = np.asarray(array, np.result_type(array.dtype, "float32")).reshape(found.shape)
    array = np.where(np.isnan(array), found, array)
    if hasattr(part, "reindex"):  # pandas' series
        return type(part)(array.reshape(-1), index=part.index, name=part.name)
    return array
