"""The examples, as modules: for tests that call parts of them."""

import importlib.util
import pathlib
import sys
from unittest import mock

FOLDER = pathlib.Path(__file__).parents[1] / "examples"


def module_of(name):
    """A fresh module of examples/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):  # as Python has it for a script
        spec.loader.exec_module(module)
    return module
