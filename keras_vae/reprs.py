"""How an object of a configuration shows what it is: as the call that makes it."""

import keras

COMMON = {"name", "trainable", "dtype"}  # of every Keras layer


def repr_of(value):
    """`ELBO(num_samples=1, beta=1.0)`, say: an object's class, and its configuration as arguments."""
    if not hasattr(value, "get_config") or isinstance(value, keras.Model):
        return repr(value)
    try:
        config = {name: setting for name, setting in value.get_config().items() if name not in COMMON}
    except NotImplementedError:  # it holds a layer, or is a schedule, of the user's own that is not to be saved
        return f"{type(value).__name__}(...)"
    # What is an object itself is in its configuration as a dictionary.
    shown = {name: getattr(value, name, each) if isinstance(each, dict) else each for name, each in config.items()}
    return f"{type(value).__name__}({', '.join(f'{name}={repr_of(each)}' for name, each in shown.items())})"
