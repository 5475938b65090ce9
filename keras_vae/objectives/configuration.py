"""Whether an objective comes back from its configuration as it was: seen when it is saved, not when it is read."""

import inspect


def takes(cls, name):
    """Whether a constructor takes an argument: by its name, or by `**kwargs`."""
    parameters = inspect.signature(cls.__init__).parameters
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def check_config(cls, config):
    """Raises ValueError unless a constructor can be called with a configuration."""
    try:
        inspect.signature(cls.__init__).bind(None, **config)
    except TypeError as error:
        raise ValueError(
            f"{cls.__name__}: expected `get_config` to return what `__init__` takes; received {sorted(config)}, with "
            f"which it cannot be called: {error}. Let `get_config` return super().get_config() and each argument of "
            "the class's own, by its name; and let `__init__` take **kwargs, and hand them on."
        ) from error


def check_savable(objective):
    """Raises ValueError unless an objective's constructor takes its configuration, which has all that it takes.

    Who wrote a constructor and a `get_config` beside it answers for what that leaves out.
    """
    cls, config = type(objective), objective.get_config()
    check_config(cls, config)
    makes = next(each for each in cls.__mro__ if "__init__" in vars(each))
    tells = next(each for each in cls.__mro__ if "get_config" in vars(each))
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    missing = [name for name in named if name not in config]
    if missing and not issubclass(tells, makes):
        raise ValueError(
            f"{cls.__name__}: expected a `get_config` that returns all that `__init__` takes, to be saved; it has no "
            f"{missing[0]!r}. Define it: return {{**super().get_config(), {missing[0]!r}: self.{missing[0]}}}. A "
            "Hyperparameter of that name is there by itself."
        )
    for part in objective.held_objectives():
        check_savable(part)
