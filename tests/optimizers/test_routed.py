"""An optimizer that gives layers optimizers of their own: each does what it would do alone."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers
from small import digits, gaussian_vae

from keras_vae.optimizers import Routed
from keras_vae.optimizers.within import main_optimizer, optimizers_within

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X @ np.array([[1.0], [2.0], [-1.0]], "float32")


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh"), layers.Dense(1)])


def trained(make, steps=5, **compiled):
    """A network after some steps of an optimizer that is made for it."""
    model = network()
    model.compile(make(model), "mse", **compiled)
    model.fit(X, Y, batch_size=16, epochs=steps, verbose=0)
    return model


def by_hand(first, second, steps=5):
    """The same with an optimizer for each layer, called by hand."""
    model = network()
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(X) - Y) ** 2)
        values = tape.gradient(loss, [each.value for each in model.trainable_variables])
        first.apply(values[:2], model.layers[0].trainable_variables)
        second.apply(values[2:], model.layers[1].trainable_variables)
    first.finalize_variable_values(model.layers[0].trainable_variables)
    second.finalize_variable_values(model.layers[1].trainable_variables)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clipnorm": 0.01},
        {"global_clipnorm": 0.01},
        {"weight_decay": 0.5},
        {"gradient_accumulation_steps": 2},
        {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2},
        {"use_ema": True, "ema_momentum": 0.5},
    ],
    ids=str,
)
def test_each_optimizer_does_what_it_does_alone(options):
    def pair():
        return optimizers.SGD(0.1, momentum=0.5), optimizers.Adam(0.05, **options)

    for first, second in ((0, 1), (1, 0)):  # the options are the main one's, or a route's
        routed = trained(lambda model, a=first, b=second: Routed(pair()[a], {model.layers[1]: pair()[b]}))
        chosen = pair()[first], pair()[second]
        for one, other in zip(routed.weights, by_hand(*chosen).weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert int(routed.optimizer.iterations) == int(chosen[0].iterations)


@pytest.mark.parametrize("compiled", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_a_step_is_the_same_however_it_runs(compiled):
    def make(model):
        return Routed("adam", {model.layers[1]: "sgd"})

    for one, other in zip(trained(make, **compiled).weights, trained(make).weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_learning_rate_is_the_main_one_s():
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
    model = network()
    routed = Routed(optimizers.SGD(0.1), {model.layers[1]: optimizers.SGD(0.01)})
    model.compile(routed, "mse")
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[schedule]).history
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.025])
    np.testing.assert_allclose([routed.learning_rate, routed.others[0].learning_rate], [0.025, 0.01])


def test_a_loss_scale_goes_around_it():
    scaled = trained(lambda model: optimizers.LossScaleOptimizer(Routed("adam", {model.layers[1]: "sgd"})))
    plain = trained(lambda model: Routed("adam", {model.layers[1]: "sgd"}))
    for one, other in zip(scaled.weights, plain.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    routed = scaled.optimizer.inner_optimizer
    assert main_optimizer(scaled.optimizer) is routed.inner_optimizer
    assert {id(each) for each in optimizers_within(scaled.optimizer)} == {
        id(each) for each in (scaled.optimizer, routed, routed.inner_optimizer, *routed.others)
    }


@pytest.mark.parametrize("wrap", [lambda routed: routed, optimizers.LossScaleOptimizer])
def test_a_file_has_the_state_of_each_and_where_weights_go(wrap, tmp_path):
    """Also of two optimizers of one name; and training goes on to the last bit."""
    rate = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)

    def make(model):
        return wrap(Routed(optimizers.Adam(rate, clipnorm=1.0), {model.layers[1]: optimizers.Adam(0.05, beta_1=0.5)}))

    model = trained(make)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.optimizer.get_config()) == json.dumps(model.optimizer.get_config())
    assert int(main_optimizer(loaded.optimizer).iterations) == 5  # older Keras leaves that of a wrapper at 0
    for each in (model, loaded):
        each.fit(X, Y, batch_size=16, epochs=2, verbose=0)
    pairs = zip(
        [*model.weights, *model.optimizer.variables], [*loaded.weights, *loaded.optimizer.variables], strict=True
    )
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
    loaded.save(tmp_path / "again.keras")  # of a file
    again = keras.saving.load_model(tmp_path / "again.keras")
    assert json.dumps(again.optimizer.get_config()) == json.dumps(model.optimizer.get_config())


@pytest.mark.parametrize("wrap", [lambda routed: routed, optimizers.LossScaleOptimizer])
def test_a_vae_is_saved_before_it_is_trained(wrap, tmp_path):
    """When it is built: with where its weights go; and it is trained as the one that was saved."""
    vae = gaussian_vae(units=4)
    vae.compile(wrap(Routed("adam", {vae.decoder: optimizers.SGD(1e-3)})), jit_compile=False)
    vae.build((None, 8, 8, 1))
    vae.save(tmp_path / "vae.keras")
    assert not vae.optimizer.built  # saving leaves it as it was
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    logs = [each.fit(digits()[:32], epochs=2, verbose=0).history for each in (vae, loaded)]
    assert logs[0] == logs[1]
    routed = next(each for each in optimizers_within(loaded.optimizer) if isinstance(each, Routed))
    trained = loaded.trainable_variables
    owned = {id(variable) for variable in loaded.decoder.trainable_variables}
    assert routed.places == [int(id(variable) in owned) for variable in trained] and set(routed.places) == {0, 1}
    for one, other in zip(vae.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_frozen_after_saving_is_left_out(tmp_path):
    """What a file noted is no last word: the routes are found anew when the optimizer is built."""
    vae = gaussian_vae(units=4)
    vae.compile(Routed("adam", {vae.decoder: "sgd"}), jit_compile=False)
    vae.build((None, 8, 8, 1))
    vae.save(tmp_path / "vae.keras")
    vae.encoder.layers[1].trainable = False
    vae.fit(digits()[:32], verbose=0)
    assert len(vae.optimizer.places) == len(vae.trainable_variables) == 7


def test_all_within_a_layer_goes_with_it_and_the_layer_is_no_part_of_the_optimizer():
    inner = keras.Sequential([layers.Dense(2), layers.Dense(2)])
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3), inner, layers.Dense(1)])
    routed = Routed("sgd", {inner: "adam", model.layers[-1]: "rmsprop"})
    routed.build(model.trainable_variables)
    assert routed.places == [0, 0, 1, 1, 1, 1, 2, 2]
    assert not any(variable is each for variable in routed.variables for each in model.variables)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layer: Routed("adam", {}), "expected `routes` to be a dictionary of optimizers by layer"),
        (lambda layer: Routed("adam", [layer]), "expected `routes` to be a dictionary of optimizers by layer"),
        (lambda layer: Routed("adam", {"dense": "sgd"}), r"by layer, such as \{vae.objective: .*received: \{'dense'"),
        (lambda layer: Routed(0.1, {layer: "sgd"}), "expected `optimizer` to be a new Keras optimizer; received: 0.1"),
        (lambda layer: Routed("adam", {layer: None}), r"expected `routes\[.*Dense.*received: None, which is none"),
        (lambda layer: Routed(Routed("adam", {layer: "sgd"}), {layer: "sgd"}), "all routes go into one"),
        (
            lambda layer: Routed("adam", {layer: optimizers.LossScaleOptimizer(optimizers.SGD())}),
            "A LossScaleOptimizer goes around the Routed",
        ),
        (lambda layer: Routed(optimizers.SGD(loss_scale_factor=2.0), {layer: "sgd"}), "which has a loss_scale_factor"),
        (lambda layer: (lambda sgd: Routed(sgd, {layer: sgd}))(optimizers.SGD()), "one that stands in two places"),
    ],
)
def test_what_cannot_be_routed(make, message):
    with pytest.raises(ValueError, match=f"Routed: .*{message}"):
        make(layers.Dense(2))


def test_an_optimizer_that_is_built_has_other_weights():
    used = trained(lambda model: optimizers.SGD()).optimizer
    with pytest.raises(ValueError, match="which is built, for other weights"):
        Routed(used, {layers.Dense(2): "sgd"})


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        (lambda model: {layers.Dense(2, name="lost"): "sgd"}, "expected weights of .*among the 4 that are trained"),
        (lambda model: {model.layers[1]: "sgd", model: "adam"}, "one route at most; received two for '.*kernel'"),
        (lambda model: {model: "sgd"}, "expected the main optimizer to have weights that no route has"),
        (lambda model: {(0, 7): "sgd"}, r"expected places among 4 trained weights; received: \(0, 7\)"),
    ],
)
def test_routes_that_do_not_fit_a_model(routes, message):
    model = network()
    made = routes(model)
    with pytest.raises(ValueError, match=message):
        Routed("adam", made).build(model.trainable_variables)


def test_what_it_cannot_do():
    model = network()
    routed = Routed("adam", {model.layers[1]: "sgd"})
    with pytest.raises(ValueError, match="expected an optimizer that knows the model's weights"):
        routed.get_config()
    with pytest.raises(ValueError, match="received no variables"):
        routed.apply([1.0])
    routed.build(model.trainable_variables)
    other = keras.Variable(1.0)
    with pytest.raises(ValueError, match="Unknown variable"):
        routed.apply([1.0], [other])
