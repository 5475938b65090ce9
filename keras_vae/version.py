"""The one place that holds the version, and what it says of a file."""

import re

__version__ = "0.1.0"


def check_not_newer(name, version):
    """Raises ValueError if a model was saved by a version whose models this one may not know; None passes."""
    if version is not None and release(version) > release(__version__):
        raise ValueError(
            f"The model {name!r} was saved by keras_vae {version}, which is newer than the installed {__version__}: "
            "pip install --upgrade keras_vae"
        )


def release(version):
    """`(major, minor)` of a version."""
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", version).groups()))
