"""A VAE as functions of tensors: what it is once it has left Python, with every draw a function of an explicit seed."""

import keyword
import re
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_vae import backend
from keras_vae.data.parts import asked_for, pick
from keras_vae.estimates import centre, point_estimate, probabilities_of
from keras_vae.evaluation.log_likelihood import draws_for, importance_sampled
from keras_vae.layers.elements import DependentElements, log_prob_of_elements
from keras_vae.objectives.base import elbo_of
from keras_vae.objectives.forward_pass import OF_PARTS


class Signature(NamedTuple):
    """One function, of tensors to a dictionary of them.

    Attributes:
        function: of as many tensors as there are `inputs`.
        inputs: a `KerasTensor` for each, with its name; the batch size is unknown.
    """

    function: Callable
    inputs: list


# Names of inputs that are no part of x.
TAKEN = {"num", "num_samples", "seed", "self", "training", "z"}


def signatures(vae):
    """The functions of a built VAE, by name; the first is what a server runs if it is not told which.

    - `reconstruct(x)`: `reconstruction`, the mean of p(x|z) at the posterior's mean.
    - `encode(x, seed)`: `mean` and `stddev` of q(z|x), and a `sample`. Where the mean has no closed form, `mean` is the
      centre: see `keras_vae.estimates`. Where the standard deviation has none, there is no `stddev`.
    - `decode(z)`: `mean` of p(x|z), and its `stddev` where the family has one.
    - `generate(num, seed)`: `num` draws of z from the prior: each a `sample` of p(x|z), and its `mean`.
    - `score(x, num_samples, seed)`: an example's `elbo`, `nll`, `kl` and `nll_age`, and the objective's own terms, as
      `evaluate` has them. Beside them `log_likelihood`, by `num_samples` importance samples. All `[B]`, nats. And
      `log_prob_of_elements`, `[B, *event]`, whose sum is `-nll`, where the likelihood is of independent elements.

    For categories without an order, `reconstruction` is the likeliest. So is `mode`, which `decode` and `generate` have
    in place of `mean` and `stddev`. All three have the `probabilities`, `[B, *event, levels]`, beside it.

    `encode_mean(x)` is `encode` without the draw, for runtimes that cannot draw. Under a likelihood of several parts
    each output that is an x is one a part: `mean_age`, `mean_image`, `probabilities_kind`.
    """
    x, seed = inputs_of(vae), scalar("seed", "int64")
    seen = seen_of(vae, x)
    z = keras.KerasTensor((None, *vae.prior.latent_shape), dtype=vae.dtype_scored, name="z")

    def reconstruct(*parts):
        likelihood = vae.decode(centre(vae.encode(structured(vae, parts, seen))))
        return {**named("reconstruction", point_estimate(likelihood)), **probabilities(likelihood)}

    def encode_mean(*parts):
        return moments_of(vae.encode(structured(vae, parts, seen)))

    def encode(*parts_and_seed):
        *parts, seed = parts_and_seed
        posterior = vae.encode(structured(vae, parts, seen))
        sample = posterior.sample(seed=backend.seed_for(backend.stateless_seed(seed), "posterior"))
        return {**moments_of(posterior), "sample": sample}

    def decode(z):
        likelihood = vae.decode(z)
        return {**estimates(likelihood), **stddev_of(likelihood), **probabilities(likelihood)}

    def generate(num, seed):
        seed, num = backend.stateless_seed(seed), backend.at_least(1, "num", num)
        likelihood = vae.decode(vae.prior().sample(num, seed=backend.seed_for(seed, "prior")))
        sample = likelihood.sample(seed=backend.seed_for(seed, "event"))
        return {**named("sample", sample), **estimates(likelihood), **probabilities(likelihood)}

    def score(*parts_and_more):
        *parts, num_samples, seed = parts_and_more
        seed = backend.stateless_seed(seed)
        draw = vae.forward_pass(structured(vae, parts), seed=backend.seed_for(seed, "elbo"))
        terms = draw.reported(vae.objective(draw))
        num_samples, seed = backend.at_least(1, "num_samples", num_samples), backend.seed_for(seed, "importance")
        block = draws_for(draw.x, num_samples)
        log_likelihood = importance_sampled(vae, draw.x, draw.posterior, num_samples, seed, block)
        # A part's share, `nll/age`, as other outputs of parts are named.
        named_terms = {name.replace(OF_PARTS, "nll_"): value for name, value in terms.items()}
        scores = {**named_terms, "elbo": elbo_of(terms), "log_likelihood": log_likelihood}
        return {**scores, **elements_of(draw.likelihood, draw.x)}

    return {
        "reconstruct": Signature(reconstruct, seen),
        "encode_mean": Signature(encode_mean, seen),
        "encode": Signature(encode, [*seen, seed]),
        "decode": Signature(decode, [z]),
        "generate": Signature(generate, [scalar("num", "int32"), seed]),
        "score": Signature(score, [*x, scalar("num_samples", "int32"), seed]),
    }


def scalar(name, dtype):
    return keras.KerasTensor((), dtype=dtype, name=name)


def inputs_of(vae):
    """The parts of x, flat, as `KerasTensor`s with the names that a caller gives: `x`, or the encoder's inputs'.

    Numbers are float32, or float64 under a float64 policy, whatever the networks compute in. What the encoder takes as
    integers or text is that here too. Its `keras.Input`s say so, or else x, as it was when the model was built.
    """
    parts = keras.tree.flatten(vae.x_spec)
    takes = [each for each in getattr(vae.encoder, "inputs", None) or [] if hasattr(each, "dtype")]
    if isinstance(vae.x_spec, dict):  # by name: a network made of a list has an order of its own
        by_name = {each.name: each for each in takes}
        takes = [by_name.get(path[-1]) for path, _ in keras.tree.flatten_with_path(vae.x_spec)]
    elif len(takes) != len(parts):
        takes = [None] * len(parts)
    is_scored = {id(part) for part in keras.tree.flatten(pick(vae.x_spec, vae.target))}
    names = names_of(vae.x_spec, [None if take is None else take.name for take in takes])

    def dtype_of(part, take):
        dtype = (part if take is None else take).dtype
        return vae.dtype_scored if id(part) in is_scored or "float" in dtype else dtype

    return [
        keras.KerasTensor(part.shape, dtype_of(part, take), name=name)
        for part, take, name in zip(parts, takes, names, strict=True)
    ]


def names_of(x, given):
    """A name for each part of x: the keys of a dictionary; for a list what its `keras.Input`s were named; or `x`.

    Raises:
        ValueError: a name that is none for an input, is taken by another, or comes twice.
    """
    names = ["x"]
    if isinstance(x, dict):
        names = ["_".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(x)]
    elif isinstance(x, (list, tuple)):
        names = [
            name if name and not name.startswith(("keras_tensor", "input_layer")) else f"x_{index}"
            for index, name in enumerate(given)
        ]
    lower = [name.lower() for name in names]
    bad = [
        name
        for name in names
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)
        or keyword.iskeyword(name)
        or name in TAKEN
        or lower.count(name.lower()) > 1
    ]
    if bad:
        raise ValueError(
            "export: expected names of x's parts of letters, digits and underscores, each another, and none a word of "
            f"Python's or one of {sorted(TAKEN)}; received {bad[0]!r} among {names}"
        )
    return names


def seen_of(vae, inputs):
    """Those of the parts of x, flat, that the encoder sees: of a denoising VAE not the clean one, which is scored."""
    asked = asked_for(vae.encoder, vae.x_spec)
    parts = zip(keras.tree.flatten(vae.x_spec), inputs, strict=True)
    ids = {id(part) for part in keras.tree.flatten(asked)}
    return [each for part, each in parts if id(part) in ids]


def structured(vae, parts, inputs=None):
    """The parts as an x: of all its parts, or of some `inputs` of `seen_of`, by name."""
    if inputs is not None and len(inputs) < len(keras.tree.flatten(vae.x_spec)):
        return keras.tree.pack_sequence_as(asked_for(vae.encoder, vae.x_spec), list(parts))
    return keras.tree.pack_sequence_as(vae.x_spec, list(parts))


def elements_of(likelihood, x):
    """How likely each element is, by the mean over the draws, as an output; none where they are not independent."""
    try:
        found = log_prob_of_elements(likelihood, x)
    except DependentElements:
        return {}
    return named("log_prob_of_elements", keras.tree.map_structure(lambda each: keras.ops.mean(each, axis=0), found))


def named(name, value):
    """An output: or, of a likelihood of several parts, one a part."""
    return {f"{name}_{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}


def part_by_part(outputs, likelihood):
    """The outputs, a dictionary, that a function has of a likelihood: or, of one of several parts, of each part."""
    parts = getattr(likelihood, "parts", {"": likelihood})
    found = [(part, outputs(each)) for part, each in parts.items()]
    return {f"{name}_{part}" if part else name: value for part, each in found for name, value in each.items()}


def estimates(likelihood):
    """The point estimate as an output, part by part: `mean`, or `mode` of categories without an order."""

    def of_part(part):
        return {"mean" if probabilities_of(part) is None else "mode": point_estimate(part)}

    return part_by_part(of_part, likelihood)


def probabilities(likelihood):
    """The probabilities as an output, part by part; none of what is not of categories."""
    found = probabilities_of(likelihood)
    return {} if found is None else named("probabilities", found)


def stddev_of(likelihood):
    """The standard deviation as an output, part by part; none where a family has none, or only one of codes."""

    def of_part(part):
        if probabilities_of(part) is not None:
            return {}
        try:
            return {"stddev": part.stddev()}
        except NotImplementedError:
            return {}

    return part_by_part(of_part, likelihood)


def moments_of(posterior):
    """The mean, or else the centre, and the standard deviation as outputs; no `stddev` where that is not known."""
    return {"mean": centre(posterior), **stddev_of(posterior)}
