"""What encoder, prior, decoder and data must agree on, each as a check that says so."""

import contextlib

import keras
from keras import ops

from keras_vae.backend import tfd
from keras_vae.data import kinds


def check_part(role, value, kind, example):
    """Raises ValueError unless the constructor argument `role` is a `kind`."""
    if not isinstance(value, kind):
        raise ValueError(
            f"VAE: expected `{role}` to be a {kind.__module__.split('.')[0]} {kind.__name__}, such as {example}; "
            f"received: {value!r} of type {type(value).__name__}"
        )


def check_distribution(role, value):
    """`value`, what the encoder or decoder returned, if it is a distribution with one batch axis."""
    if not isinstance(value, tfd.Distribution):
        received = f"a tensor of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
        raise ValueError(
            f"Expected the {role} to end in a distribution layer, such as keras_vae.layers.IndependentNormal(...), "
            f"and so to return a tfd.Distribution; received {received}. Add the layer as the {role}'s last."
        )
    if value.batch_shape.rank not in (None, 1):
        raise ValueError(
            f"Expected the {role}'s distribution to have one batch axis, [batch]; received {type(value).__name__} of "
            f"batch shape {tuple(value.batch_shape)}, event shape {tuple(value.event_shape)}. Should its other axes be "
            "part of the event: tfd.Independent(distribution, reinterpreted_batch_ndims=...)?"
        )
    return value


@contextlib.contextmanager
def naming_parts(encoder, x):
    """Within, an error of an encoder that was given an x of several parts says that it is given all of them."""
    try:
        yield
    except Exception as error:
        if not isinstance(encoder, keras.Sequential) or not isinstance(x, (dict, list, tuple)):
            raise
        parts = f"the parts {sorted(x)}" if isinstance(x, dict) else f"{len(x)} parts"
        raise ValueError(
            f"Expected an encoder that takes all of x, which has {parts}: `target` says what is scored, and not what "
            "the encoder sees; received a keras.Sequential, which takes one. Make it a functional model of a "
            f"keras.Input for each part that it looks at, by name. It says: {error}"
        ) from error


def check_reparameterized(posterior):
    """Raises ValueError unless gradients pass through the posterior's draws."""
    if posterior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise ValueError(
            "Expected the encoder to end in a reparameterized distribution, so that the likelihood's gradient reaches "
            f"it; received {type(posterior).__name__}, whose draws have no gradient. "
            + getattr(posterior, "advice", "End it in keras_vae.layers.IndependentNormal, say.")
        )


def check_fits(layers, fits):
    """Raises ValueError unless each scale of the layers that is fitted to data is among the `Fit`s."""
    found = {id(fit.scale) for fit in fits}
    for layer in layers:
        scale = getattr(layer, "scale", None)
        if getattr(scale, "is_fitted", False) and id(scale) not in found:
            raise ValueError(
                f"Expected the likelihood to say what {type(scale).__name__}() of the layer {layer.name!r} is fitted "
                "to; received a distribution around it that does not. Define `fitted_to(x)` on that distribution, as "
                "keras_vae.layers.Masked has it, or take another scale: Shared()."
            )


def check_prior(posterior, prior):
    """`prior`, if it is over the same latent as the posterior."""
    if not posterior.event_shape.is_compatible_with(prior.event_shape):
        raise ValueError(
            "Expected posterior and prior to have the same event shape; received: posterior "
            f"{tuple(posterior.event_shape)} (the encoder's last layer), prior {tuple(prior.event_shape)}"
        )
    if prior.batch_shape.rank not in (None, 0):
        raise ValueError(
            "Expected the prior to be one distribution, of batch shape (), whose draws are single latents; received "
            f"{type(prior).__name__} of batch shape {tuple(prior.batch_shape)}, event shape "
            f"{tuple(prior.event_shape)}. Make it of one latent's parameters, or its axes part of the event: "
            "tfd.Independent(distribution, reinterpreted_batch_ndims=...)."
        )
    return prior


def check_latent(decoder, latent_shape):
    """Raises ValueError if the decoder is built for latents of another shape."""
    expected = getattr(decoder, "input_shape", None) if decoder.built else None
    if isinstance(expected, tuple) and expected and not compatible(expected[1:], latent_shape):
        raise ValueError(
            f"Expected latents of the shape that the decoder takes, {expected[1:]}; received latents of shape "
            f"{latent_shape}. The encoder's event shape and the decoder's input must be the same."
        )


def check_parts(expected, x, name="x"):
    """Raises ValueError if x is one array where the model was built for an x of several parts, in a list or tuple."""
    if isinstance(expected, (list, tuple)) and not isinstance(x, (list, tuple)):
        raise ValueError(
            f"Expected {name} to have {len(expected)} parts, as x had when the model was built; received one of shape "
            f"{getattr(x, 'shape', None)}. Keras takes a list or tuple of arrays for x, y and weights: put the parts "
            "into one of their own, ([a, b],)."
        )


def check_rows(x, name="x"):
    """Raises ValueError if the parts of x, arrays, hold different numbers of examples."""
    if not kinds.holds_arrays(x):
        return
    lengths = [leaf.shape[0] if leaf.shape else 0 for leaf in keras.tree.flatten(x)]
    if len(set(lengths)) > 1:
        raise ValueError(f"Expected {name} to hold as many examples in each of its parts; received lengths {lengths}")


def check_event(event_shape, x, name="x"):
    """Raises ValueError unless each x of a batch `[B, ...]` has the decoder's event shape, part by part."""
    if isinstance(event_shape, dict):
        keys = sorted(x) if isinstance(x, dict) else f"a {type(x).__name__}"
        if keys != sorted(event_shape):
            raise ValueError(
                f"Expected {name} to be a dictionary with the keys of the decoder's likelihoods, "
                f"{sorted(event_shape)}; received {keys}"
            )
        for key, shape in event_shape.items():
            check_event(shape, x[key], f"{name}[{key!r}]")
        return
    if isinstance(x, dict):
        raise ValueError(
            f"Expected `target` to name the part of {name} that the likelihood scores; received target=None for "
            f"{name} with keys {sorted(x)}. Set it: VAE(encoder, decoder, target=...); or give each part a likelihood: "
            "keras_vae.layers.Joint({...})."
        )
    received = tuple(x.shape[1:])
    if not compatible(event_shape, received):
        advice = ""
        if event_shape[1:] == received:
            advice = " Are these single examples? Give batches of them: dataset.batch(...)."
        if event_shape == (*received, 1):
            advice = " Give x a channel axis: x[..., None], or take it off the decoder's event shape."
        elif (*event_shape, 1) == received:
            advice = " Take the channel axis off x: x[..., 0], or give the decoder's event shape one."
        raise ValueError(
            f"Expected each {name} to have the decoder's event shape, {event_shape}; received {name} of shape "
            f"{received} after the batch axis.{advice}"
        )


def check_terms(objective, terms):
    """`terms`, if they are what the objective has weights for, one number an example."""
    if not isinstance(terms, dict):
        raise ValueError(
            f"{type(objective).__name__}: expected `__call__` to return a dictionary of terms, "
            f"{list(objective.term_weights)}, each of shape [batch]; received a {type(terms).__name__}"
        )
    if list(terms) != list(objective.term_weights):
        raise ValueError(
            f"{type(objective).__name__}: expected terms named and ordered as its weights, "
            f"{list(objective.term_weights)}; received {list(terms)}"
        )
    for name, value in terms.items():
        if len(value.shape) != 1:
            raise ValueError(
                f"{type(objective).__name__}: expected the term {name!r} to have shape [batch]; received "
                f"{tuple(value.shape)}"
            )
    return terms


def check_sample_weight(sample_weight):
    """`sample_weight` as a tensor `[B]`, if it has one number an example."""
    weight = ops.convert_to_tensor(sample_weight)
    rank_is_known = getattr(weight.shape, "rank", 0) is not None  # not in a graph that has seen several ranks
    if rank_is_known and (not weight.shape or any(size != 1 for size in weight.shape[1:])):
        raise ValueError(
            "Expected `sample_weight` to hold one number an example, shape [batch]; "
            f"received shape {tuple(weight.shape)}"
        )
    return ops.reshape(weight, (-1,))


def compatible(expected, received):
    """Whether two static shapes, in which None is unknown, can be the same."""
    return len(expected) == len(received) and all(
        None in (a, b) or a == b for a, b in zip(expected, received, strict=True)
    )
