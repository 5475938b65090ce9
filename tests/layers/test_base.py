"""From features to parameters: the projection rule of `DistributionLayer`, branch by branch, and its errors."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_vae import scales
from keras_vae.backend import tfd
from keras_vae.layers import DistributionLayer, IndependentBernoulli, IndependentNormal

BATCH = 3
FLOOR = 1e-3


def features_of(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, *shape)).astype("float32")


def randomized(layer, features):
    """The layer, built for these features, with random weights."""
    layer.build(features.shape)
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def sigma_of(raw):
    return np.sqrt(np.exp(np.float64(raw)) + FLOOR**2)


ON_THE_GRID_WITH_CHANNELS = [((4, 5, 7), (4, 5, 2)), ((4, 7), (4, 3)), ((4, 5, 1), (4, 5, 1)), ((7,), (3,))]
ON_THE_GRID_WITHOUT_CHANNELS = [((4, 5, 7), (4, 5)), ((4, 7), (4,)), ((7,), ())]
FLATTENED = [
    ((20,), (4, 5)),
    ((4, 5, 7), (6,)),
    ((4, 5, 7), (5, 4, 2)),
    ((4, 5, 7), (4, 4, 7)),
    ((4, 5, 7), (5, 4)),
    ((4, 5), (3,)),
    ((4, 5), ()),
    ((4,), (4, 1)),
    ((4, 5), (4, 5, 2)),
    ((), (3,)),
    ((), ()),
]


@pytest.mark.parametrize(("features_shape", "event_shape"), ON_THE_GRID_WITH_CHANNELS, ids=str)
def test_features_on_the_events_grid_are_projected_along_their_last_axis(features_shape, event_shape):
    features = features_of(features_shape)
    layer = randomized(IndependentNormal(event_shape), features)
    kernel, bias = (weight.numpy() for weight in layer.weights)
    channels = event_shape[-1]
    assert kernel.shape == (features_shape[-1], 2 * channels)
    maps = features @ kernel + bias
    distribution = layer(features)
    np.testing.assert_allclose(distribution.mean(), maps[..., :channels], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), sigma_of(maps[..., channels:]), rtol=1e-4)


@pytest.mark.parametrize(("features_shape", "event_shape"), ON_THE_GRID_WITHOUT_CHANNELS, ids=str)
def test_an_event_without_channels_has_one(features_shape, event_shape):
    features = features_of(features_shape)
    layer = randomized(IndependentNormal(event_shape), features)
    kernel, bias = (weight.numpy() for weight in layer.weights)
    assert kernel.shape == (features_shape[-1], 2)
    maps = features @ kernel + bias
    distribution = layer(features)
    np.testing.assert_allclose(distribution.mean(), maps[..., 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), sigma_of(maps[..., 1]), rtol=1e-4)


@pytest.mark.parametrize(("features_shape", "event_shape"), FLATTENED, ids=str)
def test_all_other_features_are_flattened(features_shape, event_shape):
    features = features_of(features_shape)
    layer = randomized(IndependentNormal(event_shape), features)
    kernel, bias = (weight.numpy() for weight in layer.weights)
    size = int(np.prod(event_shape))
    assert kernel.shape == (int(np.prod(features_shape)), 2 * size)
    flat = features.reshape(BATCH, -1) @ kernel + bias
    distribution = layer(features)
    shape = (BATCH, *event_shape)
    np.testing.assert_allclose(distribution.mean(), flat[:, :size].reshape(shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distribution.stddev(), sigma_of(flat[:, size:]).reshape(shape), rtol=1e-4)


@pytest.mark.parametrize("event_shape", [(4, 5, 2), (4, 5)], ids=str)
def test_on_the_grid_is_a_1x1_convolution(event_shape):
    features = features_of((4, 5, 7))
    layer = randomized(IndependentNormal(event_shape), features)
    kernel, bias = layer.weights
    maps = ops.conv(features, ops.reshape(kernel, (1, 1, *kernel.shape)), padding="same") + bias
    mean, raw = (np.reshape(part, (BATCH, *event_shape)) for part in np.split(np.array(maps), 2, axis=-1))
    np.testing.assert_allclose(layer(features).mean(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(features).stddev(), sigma_of(raw), rtol=1e-4)


@pytest.mark.parametrize("event_shape", [(), (6,), (2, 3), (4, 5, 2)], ids=str)
def test_without_projection_flat_features_are_mean_then_log_variance(event_shape):
    size = int(np.prod(event_shape))
    features = features_of((2 * size,))
    layer = IndependentNormal(event_shape, projection=False)
    distribution = layer(features)
    shape = (BATCH, *event_shape)
    assert layer.weights == []
    np.testing.assert_array_equal(distribution.mean(), features[:, :size].reshape(shape))
    np.testing.assert_allclose(distribution.stddev(), sigma_of(features[:, size:]).reshape(shape), rtol=1e-5)


@pytest.mark.parametrize("event_shape", [(), (4,), (4, 5), (4, 5, 2)], ids=str)
def test_without_projection_features_on_the_grid_have_the_parameters_side_by_side(event_shape):
    channels = event_shape[-1] if len(event_shape) == 3 else 1
    grid = event_shape[:-1] if len(event_shape) == 3 else event_shape
    features = features_of((*grid, 2 * channels))
    distribution = IndependentNormal(event_shape, projection=False)(features)
    shape = (BATCH, *event_shape)
    np.testing.assert_array_equal(distribution.mean(), features[..., :channels].reshape(shape))
    np.testing.assert_allclose(distribution.stddev(), sigma_of(features[..., channels:]).reshape(shape), rtol=1e-5)


def test_without_projection_a_family_of_one_parameter_takes_the_event_as_it_is():
    features = features_of((4, 5, 2))
    np.testing.assert_array_equal(IndependentBernoulli((4, 5, 2), projection=False)(features).logits, features)
    np.testing.assert_array_equal(IndependentNormal((4, 5, 2), scale=1.0, projection=False)(features).mean(), features)


@pytest.mark.parametrize(
    ("layer", "kwargs", "expected"),
    [
        (IndependentNormal, {}, 12),
        (IndependentNormal, {"scale": 0.5}, 6),
        (IndependentNormal, {"scale": scales.Shared()}, 6),
        (IndependentNormal, {"scale": scales.PerDimension()}, 6),
        (IndependentNormal, {"scale": scales.PerElement()}, 12),
        (IndependentBernoulli, {}, 6),
    ],
)
def test_params_size_is_what_projection_false_takes(layer, kwargs, expected):
    assert layer.params_size((2, 3), **kwargs) == expected
    assert layer.params_size((), **kwargs) == expected // 6
    distribution = layer((2, 3), projection=False, **kwargs)(features_of((expected,)))
    assert tuple(distribution.event_shape) == (2, 3)


def test_an_integer_is_an_event_of_rank_one():
    assert IndependentNormal(5).event_shape == (5,)
    assert IndependentNormal([2, 3]).event_shape == (2, 3)
    assert IndependentNormal(np.int64(5)).event_shape == (5,)
    assert IndependentNormal.params_size(5) == 10


@pytest.mark.parametrize("layer", [IndependentNormal, IndependentBernoulli])
@pytest.mark.parametrize(
    "event_shape", [0, -3, 2.5, True, (28, 0), "a", None, (2, None), (2, True), (2, "3")], ids=repr
)
def test_a_wrong_event_shape_is_refused(layer, event_shape):
    message = (
        f"{layer.__name__}: expected `event_shape` to be a positive integer or a tuple of positive integers; "
        f"received: {event_shape!r}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(event_shape)
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.params_size(event_shape)


def test_the_event_shape_is_looked_at_first():
    with pytest.raises(ValueError, match="expected `event_shape` to be a positive integer"):
        IndependentNormal(0, scale="nonsense")


@pytest.mark.parametrize(
    "features_shape", [(11,), (13,), (3, 2), (3, 4), (2, 3, 1), (2, 2, 2), (), (2, 3, 2, 1)], ids=str
)
def test_features_that_are_no_parameters_are_refused(features_shape):
    layer = IndependentNormal((2, 3, 1), projection=False)
    message = (
        "IndependentNormal(event_shape=(2, 3, 1), projection=False): expected features of shape (12,) or, on the "
        "event's grid, (2, 3, 2); received: " + repr(features_shape)
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(features_of(features_shape))
    with pytest.raises(ValueError, match=re.escape(message)):
        IndependentNormal((2, 3, 1), projection=False)(keras.Input(features_shape))


@pytest.mark.parametrize("features_shape", [(None,), (None, None, 4), (28, 28, None)], ids=str)
def test_features_of_unknown_shape_are_refused(features_shape):
    received = re.escape(f"received: {(None, *features_shape)}")
    with pytest.raises(ValueError, match=f"IndependentNormal: expected features of known shape; {received}"):
        IndependentNormal((28, 28, 1))(keras.Input(features_shape))


def test_the_base_class_asks_for_a_distribution():
    with pytest.raises(NotImplementedError, match="DistributionLayer must define `distribution`"):
        DistributionLayer(3)(features_of((3,)))


@keras.saving.register_keras_serializable("test_base")
class Poisson(DistributionLayer):
    """A family in two lines, to show that the base class does the rest."""

    def distribution(self, log_rate):
        return tfd.Independent(tfd.Poisson(log_rate=log_rate), len(self.event_shape))


def test_a_new_family_is_one_method():
    model = keras.Sequential([keras.Input((4, 5, 7)), Poisson((4, 5, 2))])
    assert model.output_shape == (None, 4, 5, 2)
    distribution = model(features_of((4, 5, 7)))
    assert tuple(distribution.batch_shape) == (BATCH,)
    assert tuple(distribution.event_shape) == (4, 5, 2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model.layers[-1]))
    assert type(copy) is Poisson
    assert copy.event_shape == (4, 5, 2)


@pytest.mark.parametrize("kernel_dtype", ["float32", "mixed_bfloat16"])
def test_the_projection_follows_the_layers_dtype_policy(kernel_dtype):
    layer = IndependentNormal(3, dtype=kernel_dtype)
    layer.build((None, 5))
    (projection,) = [sublayer for sublayer in layer._flatten_layers() if isinstance(sublayer, keras.layers.Dense)]
    assert projection.dtype_policy.name == kernel_dtype
