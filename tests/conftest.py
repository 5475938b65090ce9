"""How the tests compile: in a hurry where they are fast, since few programs run for as long as XLA would optimise them.

The slow ones have XLA as users have it. So have all tests of ops and layers when `make test-slow` runs them once more.
A `fit` of a small model takes 2.7 s of processor time with XLA's defaults, and 1.1 s in a hurry.
"""

import importlib.metadata
import os

IN_A_HURRY = ["--xla_backend_optimization_level=0"]
if tuple(map(int, importlib.metadata.version("tensorflow").split(".")[:2])) >= (2, 21):  # older ones do not know it
    IN_A_HURRY.append("--xla_cpu_use_fusion_emitters=false")


def pytest_configure(config):
    if config.option.markexpr == "not slow":  # before TensorFlow is imported, which reads it; processes inherit it
        os.environ.setdefault("XLA_FLAGS", " ".join(IN_A_HURRY))
