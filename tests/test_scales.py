"""Scales: their sigma, their floor, what they refuse, and what is saved of them."""

import json
import math
import re

import checks
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vae import layers, scales
from keras_vae.scales.base import FreeScale

FREE = [scales.Shared, scales.PerDimension]
LEARNED = [scales.Shared, scales.PerDimension, scales.PerElement]
every_free = pytest.mark.parametrize("kind", FREE)
every_learned = pytest.mark.parametrize("kind", LEARNED)

NOT_POSITIVE_NUMBERS = [0, 0.0, -1.0, math.inf, -math.inf, math.nan, "1", None, True, 1j, [1.0]]


def refusal(owner, name, value):
    """The whole message, as a pattern."""
    return re.escape(f"{owner}: expected `{name}` to be a positive, finite number; received: {value!r}")


# Values.


@pytest.mark.parametrize("value", [0.3, 1, 2.5, np.float32(0.5), 1e-12, 1e12])
def test_fixed_is_its_value(value):
    scale = scales.Fixed(value)
    assert scale.value() == float(value)
    assert float(scale.log_scale()) == pytest.approx(math.log(value), rel=1e-14, abs=1e-14)
    assert scale.parameters_per_element == 0
    scale.build((3,))
    assert scale.weights == []


@every_free
@pytest.mark.parametrize("initial", [0.00101, 0.05, 1.0, 20.0])
def test_the_initial_sigma_is_exact(kind, initial):
    """The floor is taken off beforehand: sigma starts at `initial`, not a little above."""
    scale = kind(initial=initial)
    scale.build((2, 3))
    np.testing.assert_allclose(scale.value(), np.full(scale.weight_shape((2, 3)), initial), rtol=1e-6)


@every_free
def test_the_initial_sigma_is_exact_in_float64(kind):
    scale = kind(initial=0.3, dtype="float64")
    scale.build((2, 3))
    np.testing.assert_allclose(scale.value(), np.full(scale.weight_shape((2, 3)), 0.3), rtol=1e-10)


@every_free
@pytest.mark.parametrize("initial", [1e10, 1e15])
def test_a_large_initial_sigma_is_exact(kind, initial):
    scale = kind(initial=initial)
    scale.build((2,))
    # log sigma^2 is a float32 of about 70: sigma is known to a few parts in 1e6.
    np.testing.assert_allclose(scale.value(), np.full(scale.weight_shape((2,)), initial), rtol=1e-5)


def test_a_scales_weights():
    shared, per_dimension, per_element = scales.Shared(), scales.PerDimension(), scales.PerElement()
    for scale in (shared, per_dimension, per_element):
        scale.build((2, 3))
    assert [weight.shape for weight in shared.weights] == [()]
    assert [weight.shape for weight in per_dimension.weights] == [(2, 3)]
    assert per_element.weights == []
    assert (
        shared.parameters_per_element,
        per_dimension.parameters_per_element,
        per_element.parameters_per_element,
    ) == (0, 0, 1)


@every_free
def test_value_and_log_scale_follow_the_weight(kind):
    scale = kind(floor=0.5)
    scale.build((2, 3))
    raw = np.random.default_rng(0).normal(size=scale.raw.shape)
    scale.raw.assign(raw)
    sigma = np.sqrt(np.exp(raw) + 0.25)
    np.testing.assert_allclose(scale.value(), sigma, rtol=1e-6)
    np.testing.assert_allclose(scale.log_scale(), np.log(sigma), rtol=1e-5, atol=1e-6)


@every_learned
@pytest.mark.parametrize("floor", [1e-6, 1e-3, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-10)])
def test_the_floor_is_smooth(kind, floor, dtype, tolerance):
    """sigma^2 = exp(raw) + floor^2, far below the floor, at it, and far above."""
    log_floor = 2 * math.log(floor)
    raw = np.array([-3e38, -1e4, log_floor - 20, log_floor - 0.5, log_floor, log_floor + 0.5, 0.0, 3.0, 30.0], dtype)
    log_variance = 2 * kind(floor=floor).bounded(raw)
    expected = np.logaddexp(np.float64(raw), log_floor)
    np.testing.assert_allclose(log_variance, expected, rtol=tolerance, atol=tolerance)
    sigma = np.exp(np.float64(log_variance) / 2)
    assert (sigma >= floor * (1 - 10 * tolerance)).all()


@every_learned
@pytest.mark.parametrize("distance", [-60.0, -5.0, -0.5, 0.0, 0.5, 5.0])
def test_the_gradient_fades_at_the_floor(kind, distance):
    """d log sigma^2 / d raw = exp(raw) / (exp(raw) + floor^2): half at the floor, and never NaN below."""
    scale = kind(floor=0.5)
    raw = tf.constant([2 * math.log(0.5) + distance])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        log_variance = 2 * scale.bounded(raw)
    expected = 1 / (1 + math.exp(-distance))
    assert tape.gradient(log_variance, raw).numpy()[0] == pytest.approx(expected, rel=1e-5)


@every_learned
@pytest.mark.parametrize("raw", [79.0, 80.0, 81.0, 1e4, 3e38])
def test_a_huge_variance_meets_a_ceiling(kind, raw):
    """log sigma^2 is at most what the loss ops hold exactly."""
    operand = tf.constant([raw])
    with tf.GradientTape() as tape:
        tape.watch(operand)
        log_variance = 2 * kind().bounded(operand)
    assert log_variance.numpy()[0] == min(raw, 80.0)
    assert np.isfinite(tape.gradient(log_variance, operand).numpy()).all()


@pytest.mark.parametrize("kind", [*FREE, scales.Optimal], ids=lambda kind: kind.__name__)
def test_a_scale_that_is_not_built_says_so_when_asked_for_its_value(kind):
    layer = layers.IndependentNormal(3, scale=kind())
    with pytest.raises(ValueError, match=rf"{kind.__name__}: expected `value\(\)` of a scale that is built.*fit"):
        layer.scale.value()


def test_a_sigma_per_element_has_no_one_value():
    layer = layers.IndependentNormal(3)
    layer(np.ones((2, 5), "float32"))
    with pytest.raises(ValueError, match=r"PerElement: .*function of the features.*stddev\(\)"):
        layer.scale.value()


# A scale's dtype.


@every_free
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_weight_is_float32_under_mixed_precision(kind, policy):
    """A sigma of 1.001 is 1.0 in bfloat16."""
    with checks.dtype_policy(policy):
        layer = layers.IndependentNormal(3, scale=kind(initial=1.001))
        distribution = layer(np.ones((2, 5), "float32"))
    assert layer.scale.raw.dtype == "float32"
    assert layer.scale.log_scale().dtype == "float32"
    np.testing.assert_allclose(distribution.stddev(), np.full((2, 3), 1.001), rtol=1e-6)


def test_a_fixed_sigma_is_not_rounded_in_float64():
    distribution = layers.IndependentNormal(3, scale=0.3, dtype="float64")(np.ones((2, 5)))
    np.testing.assert_allclose(distribution.stddev(), np.full((2, 3), 0.3), rtol=1e-12)


# What is taken for a scale.


def test_a_number_is_a_fixed_sigma():
    assert scales.get(0.3).value() == 0.3
    assert scales.get(2).value() == 2.0
    assert scales.get(np.float32(0.5)).value() == 0.5
    assert isinstance(scales.get(1), scales.Fixed)


def test_none_is_a_sigma_per_element():
    assert isinstance(scales.get(None), scales.PerElement)
    assert isinstance(layers.IndependentNormal(3).scale, scales.PerElement)


@pytest.mark.parametrize("kind", [lambda: scales.Fixed(1.0), *LEARNED])
def test_a_scale_is_itself(kind):
    scale = kind()
    assert scales.get(scale) is scale
    assert layers.IndependentNormal(3, scale=scale).scale is scale


@pytest.mark.parametrize("scale", ["shared", scales.Shared, True, [1.0], 1j, {"a": 1}, np.ones(2)], ids=repr)
def test_anything_else_is_refused(scale):
    message = (
        "Expected `scale` to be a positive number or a keras_vae.scales object: Fixed(value), Shared(), "
        f"PerDimension(), PerElement() or Optimal(); received: {scale!r}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layers.IndependentNormal(3, scale=scale)


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan], ids=repr)
def test_a_number_that_is_no_sigma_is_refused(scale):
    with pytest.raises(ValueError, match=refusal("Fixed", "value", scale)):
        layers.IndependentNormal(3, scale=scale)


@pytest.mark.parametrize("value", NOT_POSITIVE_NUMBERS, ids=repr)
def test_a_fixed_sigma_must_be_a_positive_number(value):
    with pytest.raises(ValueError, match=refusal("Fixed", "value", value)):
        scales.Fixed(value)


@every_learned
@pytest.mark.parametrize("floor", NOT_POSITIVE_NUMBERS, ids=repr)
def test_a_floor_must_be_a_positive_number(kind, floor):
    with pytest.raises(ValueError, match=refusal(kind.__name__, "floor", floor)):
        kind(floor=floor)


@every_free
@pytest.mark.parametrize("initial", NOT_POSITIVE_NUMBERS, ids=repr)
def test_an_initial_sigma_must_be_a_positive_number(kind, initial):
    with pytest.raises(ValueError, match=refusal(kind.__name__, "initial", initial)):
        kind(initial=initial)


@every_free
@pytest.mark.parametrize(("initial", "floor"), [(1e-3, 1e-3), (0.5, 0.7)])
def test_the_initial_sigma_must_be_above_the_floor(kind, initial, floor):
    message = rf"{kind.__name__}: expected `initial` sigma above `floor`; received: initial={initial}, floor={floor}"
    with pytest.raises(ValueError, match=message):
        kind(initial=initial, floor=floor)


def test_the_base_classes_say_what_a_subclass_defines():
    with pytest.raises(NotImplementedError, match="Scale must define `log_scale`"):
        scales.Scale().log_scale()
    with pytest.raises(NotImplementedError, match="FreeScale must define `weight_shape`"):
        FreeScale().build((3,))


# What is saved.


@pytest.mark.parametrize(
    "scale",
    [
        scales.Fixed(0.3),
        scales.Shared(initial=0.5, floor=0.01),
        scales.PerDimension(initial=0.2, floor=0.1, trainable=False),
        scales.PerElement(floor=0.2, name="sigma"),
    ],
    ids=lambda scale: type(scale).__name__,
)
def test_config_round_trip(scale):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(scale)))
    assert config["registered_name"] == f"keras_vae>{type(scale).__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(scale)
    assert copy.get_config() == scale.get_config()


@pytest.mark.parametrize(
    ("scale", "arguments"),
    [
        (scales.Fixed(0.3), {"value": 0.3}),
        (scales.Shared(initial=0.5, floor=0.01), {"initial": 0.5, "floor": 0.01}),
        (scales.PerDimension(initial=0.2, floor=0.1), {"initial": 0.2, "floor": 0.1}),
        (scales.PerElement(floor=0.2), {"floor": 0.2}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_config_holds_every_argument(scale, arguments):
    assert {name: scale.get_config().get(name) for name in arguments} == arguments
