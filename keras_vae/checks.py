"""Checks of single arguments, each with an error that says what was expected and what was received."""

import math
import numbers


def is_integer(value):
    """Whether a value is one integer: Python's or NumPy's, but no bool."""
    return not isinstance(value, bool) and hasattr(value, "__index__") and not getattr(value, "ndim", 0)


def is_number(value):
    """Whether a value is one real number, but no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_integer(owner, name, value, least=1):
    """`value` as an int, if it is an integer of at least `least`.

    Raises:
        ValueError: it is not.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{owner}: expected `{name}` to be an integer >= {least}; received: {value!r}")
    return int(value)


def check_optional_integer(owner, name, value):
    """Raises ValueError unless `value` is None or a positive integer."""
    if value is not None:
        check_integer(owner, name, value)


def check_epochs(owner, name, value):
    """`value` as an int or a list of ints, as Keras takes it: every so many epochs, or these, counted from 1.

    Raises:
        ValueError: it is neither a positive integer nor a collection of them.
    """
    is_one = is_integer(value)
    epochs = [value] if is_one else value if isinstance(value, (list, tuple, set, range)) else ()
    if not epochs or not all(is_integer(each) and each >= 1 for each in epochs):
        raise ValueError(
            f"{owner}: expected `{name}` to be an integer >= 1, or a list of epochs, the first of which is 1; "
            f"received: {value!r}"
        )
    return int(value) if is_one else [int(each) for each in epochs]


def check_positive(owner, name, value):
    """`value`, if it is a positive finite number.

    Raises:
        ValueError: it is not.
    """
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{owner}: expected `{name}` to be a positive, finite number; received: {value!r}")
    return value


def check_finite(owner, name, value):
    """`value` as a float, if it is a finite number.

    Raises:
        ValueError: it is not.
    """
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{owner}: expected `{name}` to be a finite number; received: {value!r}")
    return float(value)


def check_fraction(owner, name, value):
    """`value`, if it is a number in [0, 1).

    Raises:
        ValueError: it is not.
    """
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{owner}: expected `{name}` to be a number in [0, 1); received: {value!r}")
    return value


def check_choice(owner, name, value, choices):
    """`value`, if it is one of the `choices`, which are words.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{owner}: expected `{name}` to be one of {known}; received: {value!r}")
    return value


def check_flag(owner, name, value):
    """`value`, if it is True or False.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{owner}: expected `{name}` to be True or False; received: {value!r}")
    return value


def check_seed(seed):
    """Raises ValueError unless `seed` is an integer."""
    if not is_integer(seed):
        raise ValueError(f"Expected `seed` to be None or an integer; received: {seed!r}")


def check_event_shape(owner, event_shape):
    """`event_shape` as a tuple, if it is a positive integer or some of them.

    Raises:
        ValueError: it is not.
    """
    is_sequence = hasattr(event_shape, "__len__") and not isinstance(event_shape, str)
    shape = tuple(event_shape) if is_sequence else (event_shape,)
    if not all(is_integer(size) and size >= 1 for size in shape):
        raise ValueError(
            f"{owner}: expected `event_shape` to be a positive integer or a tuple of positive integers; "
            f"received: {event_shape!r}"
        )
    return tuple(int(size) for size in shape)
