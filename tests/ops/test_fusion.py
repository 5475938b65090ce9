"""What XLA makes of a loss op, as counted in its optimised program: loops over the elements, and what it stores."""

import re

import pytest
import tensorflow as tf

from keras_vae import sums
from keras_vae.ops import bernoulli_nll, gaussian_kl, gaussian_nll

SHAPE = (64, 784)
every_op = pytest.mark.parametrize(
    ("op", "data", "parameters"),
    [(gaussian_nll, 1, 2), (bernoulli_nll, 1, 1), (gaussian_kl, 0, 2)],
    ids=lambda value: getattr(value, "__name__", ""),
)


def loops(function, *operands):
    """Of the optimised program: the shapes of all arrays of SHAPE's length it stores, and all that it computes."""
    compiled = tf.function(function, autograph=False, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(*operands)("optimized_hlo")
    entry = text[text.index("ENTRY") :].splitlines()[1:]
    instructions = [re.match(r"\s*(?:ROOT )?%?\S+ = (\S+) ([\w-]+)\(", line) for line in entry]
    computed = [i.groups() for i in instructions if i and i.group(2) not in ("parameter", "constant", "tuple")]
    large = f"[{SHAPE[0]},"
    return [shape for shape, _ in computed if large in shape], computed


@pytest.mark.skipif(not sums.SUMS_AS_PRODUCTS, reason="an older XLA, and a GPU's, sums otherwise")
@every_op
def test_forward_is_one_loop_and_stores_no_summand(op, data, parameters):
    stored, computed = loops(lambda *operands: op(*operands), *[tf.zeros(SHAPE)] * (data + parameters))
    assert not stored
    assert len(computed) <= 2, computed  # the loop, and the scale of one number an example


@every_op
def test_backward_is_one_loop_a_gradient_and_stores_nothing_else(op, data, parameters):
    def gradient(upstream, *operands):
        varied = list(operands[data:])
        with tf.GradientTape() as tape:
            tape.watch(varied)
            value = op(*operands[:data], *varied)
        return tape.gradient(value, varied, upstream)

    stored, computed = loops(gradient, tf.zeros(SHAPE[0]), *[tf.zeros(SHAPE)] * (data + parameters))
    assert len(stored) == len(computed) == parameters, computed
