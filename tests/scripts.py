"""The examples, as modules: for tests that call parts of them."""

import importlib.util
import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "examples"


def module_of(name):
    """A fresh module of examples/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
