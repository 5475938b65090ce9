"""Each name that is private to Keras, TensorFlow or TFP, once: what it is to do, in the versions that are installed."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import gaussian_vae

from keras_vae import compat
from keras_vae.backend import tfd, tfp
from keras_vae.optimizers.within import optimizers_within


def compiled_model(optimizer="adam"):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def test_layers_of_a_model_each_once_to_any_depth():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    outer = keras.Sequential([inner, keras.layers.Dense(3), inner])
    found = compat.layers_of(outer)
    assert {id(layer) for layer in found} >= {id(outer), id(inner), id(inner.layers[0])}
    assert len({id(layer) for layer in found}) == len(found)
    assert outer not in compat.layers_of(outer, include_self=False)


def test_seed_generators_of_a_layer_are_its_own():
    model = compiled_model()
    (generator,) = compat.seed_generators_of(model.layers[-1])
    assert isinstance(generator, keras.random.SeedGenerator)
    assert not compat.seed_generators_of(model)


def test_the_variable_of_a_seed_generator_is_told_from_others():
    generator = keras.random.SeedGenerator(3)
    assert compat.is_draw_count(generator.state)
    before = np.asarray(generator.state)
    generator.next()
    np.testing.assert_array_equal(np.asarray(generator.state) - before, [0, 1])
    assert not any(map(compat.is_draw_count, compiled_model().trainable_variables))


def test_a_model_is_built_from_a_batch_with_metrics_and_optimizer():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    compat.build_from_batch(model, (tf.zeros((4, 3)), tf.zeros((4, 2)), None))
    assert model.built and model.optimizer.built and compat.compiled_metrics_of(model).built


def test_the_loss_is_tracked_by_a_mean_that_counts_examples():
    model = compiled_model()
    model.fit(np.ones((5, 3)), np.ones((5, 2)), batch_size=2, verbose=0)
    assert int(compat.loss_tracker_of(model).count) == 5


def test_a_layer_takes_a_distribution():
    class Stddev(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            compat.accept_any_argument(self)

        def call(self, distribution):
            return distribution.stddev()

    np.testing.assert_allclose(Stddev()(tfd.Normal(0.0, [2.0])), [2.0])


def test_steps_of_an_optimizer_are_counted_in_a_variable():
    optimizer = keras.optimizers.SGD(0.25)
    variable = keras.Variable(np.ones(2, "float32"))
    optimizer.build([variable])
    optimizer.apply([tf.ones(2)], [variable])
    assert int(compat.step_count_of(optimizer)) == 1


def test_a_learning_rate_is_as_it_was_given():
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 50, 0.9)
    assert compat.learning_rate_of(keras.optimizers.Adam(schedule)) is schedule
    np.testing.assert_allclose(compat.learning_rate_of(keras.optimizers.Adam(0.25)), 0.25)


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_an_optimizer_made_outside_a_scope_applies_sums_in_it(wrap):
    optimizer = wrap(keras.optimizers.SGD(0.5))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    for each in optimizers_within(optimizer):
        compat.distribute_optimizer(each, strategy)
    with strategy.scope():
        variable = keras.Variable(np.ones(2, "float32"))
        optimizer.build([variable])
        scale = float(optimizer.scale_loss(tf.ones([])))
        tf.function(lambda: compat.apply_summed_gradients(optimizer, [scale * tf.ones(2)], [variable], strategy))()
    np.testing.assert_allclose(variable, [0.5, 0.5])


def test_weights_of_classes_are_weights_of_examples():
    weights = {0: 1.0, 1: 3.0}
    np.testing.assert_array_equal(compat.class_weights_of(np.array([1, 0, 2]), weights), [3.0, 1.0, 1.0])
    np.testing.assert_array_equal(compat.class_weights_of(np.eye(2), weights), [1.0, 3.0])


def test_tf2onnx_is_readied():
    pytest.importorskip("tf2onnx")
    compat.patch_tf2onnx()


def test_keras_s_tensorboard_asks_for_batches_only_when_it_is_told_to(tmp_path):
    for options, expected in (({}, False), ({"update_freq": 2}, True), ({"write_steps_per_second": True}, True)):
        callback = keras.callbacks.TensorBoard(tmp_path, profile_batch=0, **options)
        callback.set_model(compiled_model())
        assert compat.asks_for_batches(callback) is expected
    callback = keras.callbacks.TensorBoard(tmp_path, profile_batch=(1, 2))
    callback.set_model(compiled_model())
    assert compat.asks_for_batches(callback)


@pytest.mark.parametrize("writes", [True, False])
def test_a_tensorboard_writes_or_does_not(writes, tmp_path):
    class Board(compat.TensorBoard):
        def writes(self):
            return writes

    board = Board(tmp_path)
    model = compiled_model()
    board.set_model(model)
    assert board.train_folder() == str(tmp_path / "train")
    for writer in (board.train_writer(), board.validation_writer()):
        with writer.as_default(step=0):
            assert bool(tf.summary.scalar("number", 1.0)) is writes
    assert board.writer_of("other", str(tmp_path / "other")) is board.writer_of("other", "")
    board.on_train_end()


def test_the_graph_of_a_program_is_drawn_by_keras_s_tensorboard(tmp_path):
    vae = gaussian_vae(units=4)
    vae.compile("adam", jit_compile=False)
    vae.fit(np.zeros((4, 8, 8, 1), "float32"), verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path)])
    (events,) = (tmp_path / "train").glob("*.tfevents.*.v2")
    assert any(event.graph_def for event in tf.compat.v1.train.summary_iterator(str(events)))


def test_fit_reads_an_adapter_of_one_s_own():
    class Adapter(compat.DataAdapter):
        num_batches = 3

        def get_tf_dataset(self):
            return self

        def __iter__(self):
            return iter(3 * [(tf.ones((2, 3)), tf.ones((2, 2)))])

    model = compiled_model()
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(Adapter(), verbose=0)
    assert model.optimizer.iterations == 3


def test_evaluate_says_that_it_is_within_fit():
    seen = []

    class Model(compat.Model):
        def call(self, x):
            return self.scale * x

        def evaluate(self, *args, **kwargs):
            seen.append(compat.WITHIN_FIT in kwargs)
            return super().evaluate(*args, **kwargs)

    model = Model()
    model.scale = keras.Variable(1.0)
    model.compile("adam", "mse")
    x = np.ones((4, 3), "float32")
    model.fit(x, x, validation_data=(x, x), verbose=0)
    model.evaluate(x, x, verbose=0)
    assert seen == [True, False]


def test_a_model_says_what_an_epoch_reports():
    class Model(compat.Model):
        def call(self, x):
            return x

        def epoch_logs(self, logs):
            return {"loss": 7.0}

    model = Model()
    model.compile("adam", "mse")
    x = np.ones((4, 3), "float32")
    assert model.evaluate(x, x, verbose=0, return_dict=True) == {"loss": 7.0}


def test_a_symbolic_call_makes_variables_computes_nothing_and_says_what_is_wrong():
    layer = keras.layers.Dense(2)
    compat.symbolically(layer, keras.KerasTensor((None, 3)))
    assert layer.built and layer.kernel.shape == (3, 2)

    def fails(x):
        raise ValueError("what is wrong")

    with pytest.raises(ValueError, match=r"^what is wrong$"):
        compat.symbolically(fails, keras.KerasTensor((None, 3)))


def test_axes_of_broadcasting_are_found_when_run():
    for shape, broadcast, axes in (((3, 1), (2, 3, 4), [0, 2]), ((2, 3), (2, 3), [])):
        np.testing.assert_array_equal(compat.broadcast_axes(tf.constant(shape), tf.constant(broadcast)), axes)


def test_copies_of_variables_are_in_memory_of_their_own():
    variable = keras.Variable(np.ones(3, "float32"))
    (copy,) = compat.copies_of([variable])
    variable.assign([2.0, 2.0, 2.0])
    np.testing.assert_array_equal(copy, np.ones(3))


def test_a_distribution_keeps_what_it_is_given_as_it_is():
    distribution = tfd.Normal(0.0, 1.0)
    parts = {"one": tfd.Normal(0.0, 1.0)}
    assert compat.untracked(distribution, parts) is not None
    distribution.parts = compat.untracked(distribution, parts)
    assert type(distribution.parts) is dict


def test_a_distribution_is_copied_and_sliced_by_the_parameters_that_are_set():
    class Shifted(tfd.Independent):
        def __init__(self, loc, name="Shifted"):
            super().__init__(tfd.Normal(loc, 1.0), 1, name=name)
            compat.set_parameters(self, {"loc": loc, "name": name})

    compat.set_parameter_properties(Shifted, {"loc": tfp.util.ParameterProperties(event_ndims=1)})
    distribution = Shifted(tf.reshape(tf.range(6.0), (3, 2)))
    np.testing.assert_array_equal(distribution[1].mean(), [2.0, 3.0])
    np.testing.assert_array_equal(distribution.copy().mean(), distribution.mean())


def test_losses_that_a_layer_had_stay_whatever_it_is_called_for():
    layer = keras.layers.ActivityRegularization(l2=1.0)
    layer(np.ones((1, 2)))
    with compat.losses_kept(layer):
        layer(np.ones((1, 3)))
    assert [float(loss) for loss in layer.losses] == [2.0]


def test_a_layer_takes_the_place_of_one_that_a_built_layer_has():
    class Outer(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(2)

        def build(self, input_shape):
            self.inner.build(input_shape)

        def call(self, x):
            return self.inner(x)

    outer, before = Outer(), None
    outer(np.ones((1, 3)))
    before, other = outer.inner, keras.layers.Dense(2)
    with pytest.raises(ValueError, match="You cannot add new elements of state"):
        outer.inner = other
    compat.replace_layer(outer, "inner", other)
    assert outer.inner is other and before not in compat.layers_of(outer) and other in compat.layers_of(outer)
    with pytest.raises(ValueError, match="You cannot add new elements of state"):
        outer.another = keras.layers.Dense(2)


def test_the_kl_that_is_registered_for_two_classes_or_is_a_class_s_own():
    class Own(tfd.Normal):
        def _kl_divergence(self, other):
            return 1.0

    form = compat.registered_kl(tfd.Normal, tfd.Normal)
    q, p = tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0)
    np.testing.assert_allclose(form(q, p), 0.5)
    assert compat.registered_kl(tfd.Normal, tfd.Laplace) is None
    assert compat.registered_kl(Own, tfd.Laplace)(Own(0.0, 1.0), p) == 1.0


def test_the_outermost_layer_is_the_one_that_was_called():
    found = []

    class Inner(keras.layers.Layer):
        def call(self, x):
            found.append(compat.outermost_layer())
            return x

    outer = keras.Sequential([Inner()])
    outer(np.ones((1, 2)))
    assert found[-1] is outer and compat.outermost_layer() is None


def test_gradients_of_one_s_own_go_with_their_graph_and_are_right_until_then():
    @tf.custom_gradient
    def tripled(x):
        return 3.0 * x, lambda upstream: 5.0 * upstream

    def traced():
        @tf.function(autograph=False)
        def slope(x):
            y = tripled(x)
            (gradient,) = tf.gradients(y, x)
            compat.hold_gradients(tf.compat.v1.get_default_graph())
            return gradient, tf.gradients(y, x)[0]

        concrete = slope.get_concrete_function(tf.TensorSpec(()))
        assert [float(value) for value in concrete(tf.constant(1.0))] == [5.0, 5.0]
        return weakref.ref(concrete.graph)

    graph = traced()
    gc.collect()
    assert graph() is None
