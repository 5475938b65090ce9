"""Weights alone, and copies: what of a model they take along."""

import copy
import inspect
import pickle

import keras
import numpy as np
import pytest
from resumed import X, state_of, vae_with_states
from saved import check_same, normal_vae, unlike_new


@pytest.fixture
def trained():
    return unlike_new(vae_with_states(), X)


# Weights.


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_are_loaded_with_the_optimizer_s_and_the_seeds(sharded, trained, tmp_path):
    if sharded and "max_shard_size" not in inspect.signature(keras.Model.save_weights).parameters:
        pytest.skip("this Keras writes no weights in several files")
    name = "vae.weights.json" if sharded else "vae.weights.h5"
    trained.save_weights(tmp_path / name, **({"max_shard_size": 3e-6} if sharded else {}))
    other = vae_with_states()
    other.build(X.shape)
    other.optimizer.build(other.trainable_variables)
    assert state_of(other) != state_of(trained)
    other.load_weights(tmp_path / name)
    assert state_of(other) == state_of(trained)


@pytest.mark.parametrize("with_dropout", [True, False])
def test_weights_are_loaded_where_dropouts_differ(with_dropout, tmp_path):
    """Into a model that has more of them, or fewer, whose seeds stay its own."""
    one, _ = normal_vae(first=[keras.layers.Dropout(0.5)] if with_dropout else [])
    other, x = normal_vae(first=[] if with_dropout else [keras.layers.Dropout(0.5)], seed=9)
    one.build(x.shape), other.build(x.shape)
    one.save_weights(tmp_path / "vae.weights.h5")
    other.load_weights(tmp_path / "vae.weights.h5")
    for found, expected in zip(other.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(other.seed_generator.state, [9, 0])


# Copies.


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, copy.copy, lambda vae: pickle.loads(pickle.dumps(vae))],
    ids=["deepcopy", "copy", "pickle"],
)
def test_copies_are_models_of_their_own(copied, trained):
    """Of the same state; what happens to one does not to the other."""
    other, before = copied(trained), state_of(trained)
    check_same(other, trained, X)
    for variable in other.variables:
        variable.assign(variable + 1)
    assert state_of(trained) == before


def test_a_clone_has_the_configuration_and_new_weights(trained):
    clone = keras.models.clone_model(trained)
    assert clone.get_config() == trained.get_config()
    clone.build(X.shape)
    assert [weight.shape for weight in clone.weights] == [weight.shape for weight in trained.weights]
    assert not np.allclose(clone.encoder.get_weights()[0], trained.encoder.get_weights()[0])


def test_a_model_that_is_not_built_is_copied():
    vae, _ = normal_vae(seed=np.int64(3))
    other = copy.deepcopy(vae)
    assert other.get_config() == vae.get_config() and not other.built
    np.testing.assert_array_equal(other.seed_generator.state, [3, 0])
