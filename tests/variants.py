"""The variants of a test: some run with the fast ones, the rest with the slow."""

import pytest


def fast_for(*fast, among):
    """All variants, of which those that are no `fast` ones are slow.

    Raises:
        ValueError: a fast one is none of them.
    """
    if unknown := set(fast) - set(among):
        raise ValueError(f"expected variants among {list(among)}; received {sorted(unknown)}")
    return [each if each in fast else pytest.param(each, marks=pytest.mark.slow) for each in among]
