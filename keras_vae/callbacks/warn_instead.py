"""What may fail while a model trains, and must not stop it."""

import contextlib
import warnings


@contextlib.contextmanager
def warn_instead(owner, what):
    """Within, an error is a warning that the callback `owner` could not do `what`."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"{owner}: could not {what}: {reason}. Training goes on.", RuntimeWarning, stacklevel=3)
