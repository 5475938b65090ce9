"""The networks in plain JAX: weights as a dictionary, and two functions of them."""

import itertools
import math

import jax
from jax import lax
from jax import numpy as jnp

GRID = ("NHWC", "HWIO", "NHWC")


def initial_weights(workload, key):
    """Glorot's law for the kernels and zero for the biases, as Keras has it."""
    keys = jax.random.split(key, 4)
    if workload.convolutional:
        return {
            "encoder_grid": _chain(keys[0], [1, 32, 64], window=(3, 3)),
            "encoder": _chain(keys[1], [7 * 7 * 64, 16, 2 * workload.latent]),
            "decoder": _chain(keys[2], [workload.latent, 7 * 7 * 64]),
            "decoder_grid": _chain(keys[3], [64, 64, 32, 1], window=(3, 3)),
        }
    outputs = workload.parameters * workload.event_size
    return {
        "encoder": _chain(keys[0], [workload.event_size, *workload.hidden, 2 * workload.latent]),
        "decoder": _chain(keys[1], [workload.latent, *reversed(workload.hidden), outputs]),
    }


def _chain(key, widths, window=()):
    """A kernel and a bias for each pair of neighbouring widths: dense layers, or convolutions with this window."""
    weights = []
    for inputs, outputs in itertools.pairwise(widths):
        key, draw = jax.random.split(key)
        limit = math.sqrt(6 / (math.prod(window) * (inputs + outputs)))
        kernel = jax.random.uniform(draw, (*window, inputs, outputs), minval=-limit, maxval=limit)
        weights.append((kernel, jnp.zeros(outputs)))
    return weights


def _dense(weights, x, activation):
    *hidden, (kernel, bias) = weights
    for hidden_kernel, hidden_bias in hidden:
        x = activation(x @ hidden_kernel + hidden_bias)
    return x @ kernel + bias


def encode(workload, weights, x):
    """Mean and log-variance of q(z|x), `[B, D]`, from x `[B, *event]`."""
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[workload.activation]
    for kernel, bias in weights.get("encoder_grid", []):
        x = activation(lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=GRID) + bias)
    return jnp.split(_dense(weights["encoder"], x.reshape(len(x), -1), activation), 2, axis=-1)


def decode(workload, weights, z):
    """The likelihood's parameters, flat `[..., parameters * event]`, from z `[..., D]`."""
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[workload.activation]
    outputs = _dense(weights["decoder"], z.reshape(-1, workload.latent), activation)
    if workload.convolutional:
        outputs = activation(outputs).reshape(-1, 7, 7, 64)
        *hidden, last = weights["decoder_grid"]
        for kernel, bias in hidden:
            outputs = activation(lax.conv_transpose(outputs, kernel, (2, 2), "SAME", dimension_numbers=GRID) + bias)
        outputs = lax.conv_transpose(outputs, last[0], (1, 1), "SAME", dimension_numbers=GRID) + last[1]
    return outputs.reshape(*z.shape[:-1], -1)
