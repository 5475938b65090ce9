"""Which part of x the likelihood scores, and which the encoder sees, where x has several parts."""


def pick(x, target=None):
    """The part of x that is scored: `x[target]`; by default x itself, or its first entry if x is a list or tuple.

    Raises:
        ValueError: x has no such part.
    """
    has_parts = isinstance(x, (dict, list, tuple))
    if lacks_target(x, target):
        raise ValueError(
            f"Expected x to have the part {target!r}, which `target` says is scored; received keys {sorted(x)}. "
            "Without it there are encode, reconstruct and transform, where the encoder does not ask for it."
        )
    if target is None and not isinstance(x, (list, tuple)):
        return x
    try:
        if not has_parts:
            raise TypeError
        return x[_key(x, target)]
    except (KeyError, IndexError, TypeError):
        parts = (
            f"keys {sorted(x)}" if isinstance(x, dict) else f"{len(x)} entries" if isinstance(x, (list, tuple)) else ""
        )
        raise ValueError(
            f"Expected `target` to name the part of x that the likelihood scores; received target={target!r} for x "
            f"{f'with {parts}' if parts else f'of type {type(x).__name__}'}. Set it: VAE(encoder, decoder, target=...)."
        ) from None


def replace(x, value, target=None):
    """x with `value` in place of the part that is scored."""
    if not isinstance(x, (dict, list, tuple)) or (isinstance(x, dict) and target is None):
        return value
    if isinstance(x, dict):
        return {**x, target: value}
    entries = list(x)
    entries[_key(x, target)] = value
    return type(x)(entries)


def lacks_target(x, target=None):
    """Whether x, a dictionary, is without the part that is scored: an encoder may do without it."""
    return isinstance(x, dict) and target is not None and target not in x


def asked_for(network, x):
    """Those parts of x, a dictionary, that a functional network has inputs for; for any other network all of x."""
    inputs = getattr(network, "input", None) if hasattr(network, "inputs") else None
    if not isinstance(x, dict) or not isinstance(inputs, dict) or not set(inputs) <= set(x):
        return x
    return {name: x[name] for name in inputs}


def _key(x, target):
    return 0 if target is None and isinstance(x, (list, tuple)) else target
