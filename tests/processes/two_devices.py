"""Tests on two logical CPUs, which must be set up before TensorFlow starts: `test_replicas.py` runs this file.

A run on two replicas must be the run on one device: loss curve, metrics, weights and outputs, to rounding.
"""

import contextlib
import dataclasses
import functools
import gc
import weakref

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from keras import layers, optimizers
from replicas import WEIGHTS, X, assert_two_train_as_one, fitted, made
from small import bernoulli_vae, gaussian_vae

import keras_vae
from keras_vae.layers import IndependentNormal

# Quick: the claims.


@pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_replicas_gradients_add_up_to_one_device_s(jit_compile):
    """To 1e-5 of each gradient's size, for shares of 7 and 6 rows with weights: a step of SGD(1) subtracts it."""
    gradients = []
    for replicas in (1, 2):
        vae = made(replicas, lambda: optimizers.SGD(1.0), jit_compile=jit_compile)
        vae.build((None, 8, 8, 1))
        before = [np.asarray(weight) for weight in vae.trainable_variables]
        vae.fit(X[:13], sample_weight=WEIGHTS[:13], batch_size=13, verbose=0, shuffle=False)
        gradients.append([b - np.asarray(a) for b, a in zip(before, vae.trainable_variables, strict=True)])
    for expected, gradient in zip(*gradients, strict=True):
        assert np.linalg.norm(expected) > 0
        assert np.linalg.norm(gradient - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("jit_compile", [pytest.param("auto", marks=pytest.mark.slow), False])
def test_two_replicas_train_as_one_device_does(jit_compile):
    """Weighted, clipped by a norm that is the whole gradient's, with validation."""
    fit = {"sample_weight": WEIGHTS, "validation_data": (X[:21], None, WEIGHTS[:21])}
    clipped = functools.partial(optimizers.Adam, 1e-2, global_clipnorm=1.0)
    assert_two_train_as_one(fit=fit, optimizer=clipped, jit_compile=jit_compile)


def table_vae():
    """Of two parts, an image and its mean."""
    keras.utils.set_random_seed(0)
    inputs = {"image": keras.Input((8, 8, 1), name="image"), "mean": keras.Input((), name="mean")}
    features = layers.Dense(8, "tanh")(layers.Flatten()(inputs["image"]))
    encoder = keras.Model(inputs, IndependentNormal(2)(features))
    parts = {"image": keras_vae.layers.IndependentBernoulli((8, 8, 1)), "mean": IndependentNormal(())}
    return keras_vae.VAE(encoder, keras.Sequential([layers.Dense(8), keras_vae.layers.Joint(parts)]), seed=0)


def test_two_replicas_report_each_part_as_one_device_does():
    x = {"image": X, "mean": X.mean(axis=(1, 2, 3))}
    data, fit = lambda: {"x": x}, {"sample_weight": WEIGHTS, "validation_data": (x, None, WEIGHTS)}
    curves = [fitted(replicas, data, fit, build=table_vae, jit_compile=False)[1] for replicas in (1, 2)]
    assert {"nll/image", "nll/mean", "val_nll/image", "val_nll/mean"} <= set(curves[0]) == set(curves[1])
    for name, curve in curves[0].items():
        np.testing.assert_allclose(curves[1][name], curve, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(np.add(curves[1]["nll/image"], curves[1]["nll/mean"]), curves[1]["nll"], rtol=1e-6)


@pytest.mark.parametrize("options", [{"jit_compile": False}, {"run_eagerly": True}], ids=str)
def test_a_weight_that_is_set_counts_on_both_replicas_and_nothing_is_traced_anew(options):
    """Between fits, and by a callback within one: an epoch's loss is nll + beta kl, as on one device."""
    vae = made(2, **options)
    steps = {"batch_size": 16, "verbose": 0}

    def weight(history):
        return [(a - b) / c for a, b, c in zip(history["loss"], history["nll"], history["kl"], strict=True)]

    assert weight(vae.fit(X, **steps).history) == pytest.approx([1.0], abs=1e-3)
    vae.objective.beta = 20.0
    traced = None if "run_eagerly" in options else vae.train_function.step.experimental_get_tracing_count()
    assert weight(vae.fit(X, **steps).history) == pytest.approx([20.0], rel=1e-3)
    set_to_two = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(vae.objective, "beta", 20.0 if epoch == 0 else 2.0)
    )
    history = vae.fit(X, epochs=2, callbacks=[set_to_two], **steps).history
    assert weight(history) == pytest.approx([20.0, 2.0], rel=1e-3)
    assert traced is None or vae.train_function.step.experimental_get_tracing_count() == traced
    scores = vae.evaluate(X, batch_size=16, verbose=0, return_dict=True)
    assert (scores["loss"] - scores["nll"]) / scores["kl"] == pytest.approx(2.0, rel=1e-3)


def penalised_vae():
    objectives = keras_vae.objectives
    penalties = objectives.MMD(2.0), objectives.TotalCorrelation(1.0), objectives.DIP(kind="II")
    return gaussian_vae(units=8, objective=objectives.Sum(objectives.ELBO(), *penalties))


def terms_of(vae, x, sample_weight=None):
    """An objective's terms of one batch, as NumPy arrays `[B]`."""
    forward = vae.forward_pass(x, tf.constant([1, 2]))
    forward = dataclasses.replace(forward, sample_weight=sample_weight)
    return {name: np.asarray(value) for name, value in vae.objective(forward).items()}


@pytest.mark.parametrize("weighted", [False, True])
def test_a_statistic_of_a_batch_is_that_of_each_replica_s_share(weighted):
    """Of 13 rows, 7 and 6: the mean that is reported is the shares' weighted mean. DIP's terms have no noise."""
    weights = WEIGHTS[:13] if weighted else None
    vae = made(2, build=penalised_vae, jit_compile=False)
    vae.fit(X, batch_size=16, verbose=0)
    found = vae.evaluate(X[:13], batch_size=13, sample_weight=weights, verbose=0, return_dict=True)
    shares = [slice(0, 7), slice(7, 13)]
    each = [terms_of(vae, X[share], None if weights is None else weights[share]) for share in shares]
    for name in ("off_diagonal", "diagonal"):
        whole = np.concatenate([terms[name] for terms in each])
        assert found[name] == pytest.approx(np.average(whole, weights=weights), rel=1e-4), name
        assert abs(each[0][name][0] - each[1][name][0]) > 1e-3 * each[0][name][0]


@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_penalties_of_a_batch_train_on_two_replicas(jit_compile):
    """Each is reported and finite, with a batch that leaves a replica without a row; the size is that of all."""
    vae, history = fitted(2, build=penalised_vae, jit_compile=jit_compile, fit={"sample_weight": WEIGHTS})
    assert {"mmd", "total_correlation", "off_diagonal", "diagonal"} <= set(history)
    assert np.isfinite(list(history.values())).all()
    assert float(np.asarray(vae.objective.parts[2].size)) == len(X)
    assert all(np.isfinite(np.asarray(variable)).all() for variable in vae.trainable_variables)


class Masked(layers.Layer):
    """Keeps the mask of a dropout."""

    def build(self, input_shape):
        self.dropout = layers.Dropout(0.5, seed=0)
        self.mask = self.add_weight(shape=(100,), trainable=False, name="mask")

    def call(self, x, training=None):
        self.mask.assign(self.dropout(keras.ops.ones((1, 100)), training=training)[0])
        return x


def test_replicas_draw_different_noise():
    """Dropout's masks, of 0 or 2, whose mean over two replicas is 1 where they differ; and the latents', row by row."""

    def build():
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([layers.Flatten(), Masked(), IndependentNormal(2)])
        return keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0)

    vae = made(2, build=build, jit_compile=False)
    vae.fit(X[:2], batch_size=2, verbose=0)
    mask = np.asarray(vae.encoder.layers[1].mask)
    assert set(np.unique(mask)) == {0.0, 1.0, 2.0}
    assert 0.2 < np.mean(mask == 1.0) < 0.8  # half of them; false alarms 1e-9
    vae.fit(X[:2], batch_size=2, verbose=0)
    assert np.mean(mask == np.asarray(vae.encoder.layers[1].mask)) < 0.7  # 3/8 of them; and anew at each step
    outputs = vae.predict(np.repeat(X[:1], 8, axis=0), batch_size=8, verbose=0)
    assert len(np.unique(outputs["nll"])) == 8


@pytest.mark.slow
def test_replicas_draw_different_noise_from_a_posterior_that_does_not_draw_by_row():
    """Two rows alike, one on each replica, with TFP's own multivariate normal."""

    class Diagonal(layers.Layer):
        def call(self, features):
            mean, log_scale = keras.ops.split(features, 2, axis=-1)
            return keras_vae.backend.tfd.MultivariateNormalDiag(mean, keras.ops.exp(log_scale))

        def compute_output_spec(self, features):
            return keras.KerasTensor((features.shape[0], features.shape[1] // 2))

    def build():
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([layers.Flatten(), layers.Dense(4), Diagonal()])
        return keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0)

    vae = made(2, build=build)
    vae.build((None, 8, 8, 1))
    first, second = vae.predict(np.repeat(X[:1], 2, axis=0), batch_size=2, verbose=0)["nll"]
    assert first != second
    estimates = vae.log_likelihood(np.repeat(X[:1], 2, axis=0), num_samples=3, batch_size=2, verbose=0)
    assert estimates[0] != estimates[1]


class Counting(layers.Layer):
    """Counts its calls, in an integer."""

    def build(self, input_shape):
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1)
        return x


@pytest.mark.slow
def test_state_that_cannot_be_averaged_is_the_first_replica_s():
    def build():
        encoder = keras.Sequential([layers.Flatten(), Counting(), IndependentNormal(2)])
        return keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0)

    vae, _ = fitted(2, build=build)  # two epochs of three batches
    assert vae.encoder.layers[1].calls == 6


@pytest.mark.slow
def test_a_step_of_one_s_own_is_left_to_keras_without_xla(caplog):
    class Own(keras_vae.VAE):
        def train_step(self, data):
            return super().train_step(data)

    def build():
        like = gaussian_vae()
        return Own(like.encoder, like.decoder, seed=0)

    vae, history = fitted(2, build=build, data=lambda: {"x": X[:32]})
    assert "A step of one's own, on several devices" in caplog.text
    assert not vae.jit_compile and "a step of one's own, on several devices" in vae.compilation
    assert history["loss"][1] < history["loss"][0]


def test_a_head_that_a_loss_of_one_s_own_calls_first_is_made_on_both_replicas():
    """By Keras's stepping: its weights move alike, and are of the strategy."""

    class WithHead(keras_vae.VAE):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.head = layers.Dense(10)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
            logits = self.head(self.encode(x, training=training).mean())
            return loss + keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True))

    def build():
        like = gaussian_vae()
        return WithHead(like.encoder, like.decoder, seed=0)

    vae = made(2, build=build, jit_compile=False)
    before = []
    note = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: before.append(vae.head.get_weights()))
    vae.fit(X, np.arange(33) % 10, batch_size=11, verbose=0, callbacks=[note])
    assert not np.array_equal(before[0][0], vae.head.get_weights()[0])
    for weight in vae.head.weights:
        one, other = weight.value.values
        np.testing.assert_array_equal(one, other)


def test_another_strategy_is_refused():
    message = r"to be a tf\.distribute\.MirroredStrategy or .*received: OneDeviceStrategy"
    with tf.distribute.OneDeviceStrategy("CPU:0").scope(), pytest.raises(ValueError, match=message):
        gaussian_vae()


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_on_one_replica_skips_the_step_on_both():
    def build():
        return gaussian_vae(dtype="mixed_float16")

    vae = made(2, lambda: optimizers.LossScaleOptimizer(optimizers.SGD(1e-3), initial_scale=8.0), build=build)
    weights = np.ones(16, "float32")
    weights[-1] = np.inf  # the second replica's
    vae.build((None, 8, 8, 1))
    before = vae.get_weights()
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, "check_data": False}
    vae.fit(X[:16], sample_weight=weights, **options)
    assert all(np.array_equal(a, b) for a, b in zip(before, vae.get_weights(), strict=True))
    assert vae.optimizer.dynamic_scale == 4.0 and vae.optimizer.inner_optimizer.iterations == 0
    vae.fit(X[:16], sample_weight=np.ones(16, "float32"), **options)
    assert not np.array_equal(before[0], vae.get_weights()[0]) and np.isfinite(vae.get_weights()[0]).all()
    assert vae.optimizer.dynamic_scale == 4.0 and vae.optimizer.inner_optimizer.iterations == 1


# Slow: everything that people do.

OPTIMIZERS = {
    "sgd, clipvalue": lambda: optimizers.SGD(1e-3, momentum=0.9, clipvalue=0.1),
    "adamw, clipnorm": lambda: optimizers.AdamW(1e-2, weight_decay=0.1, clipnorm=1.0),
    "average": lambda: optimizers.SGD(1e-3, use_ema=True, ema_momentum=0.9),
    "average, overwriting": lambda: optimizers.Adam(1e-2, use_ema=True, ema_overwrite_frequency=3),
    "accumulation": lambda: optimizers.Adam(1e-2, gradient_accumulation_steps=2, global_clipnorm=1.0),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(1e-2, gradient_accumulation_steps=2)),
    "fixed loss scale": lambda: optimizers.SGD(1e-3, loss_scale_factor=128.0),
    "schedule": lambda: optimizers.Nadam(optimizers.schedules.CosineDecay(1e-2, 6)),
    "name": lambda: "rmsprop",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name):
    assert_two_train_as_one(optimizer=OPTIMIZERS[name])


def batches(*arrays):
    rows = range(0, 33, 16)
    return [tuple(array[row : row + 16] for array in arrays) for row in rows]


DATA = {
    "arrays, shuffled": (None, {"shuffle": True}),
    "single rows": (lambda: {"x": X[:5]}, {"batch_size": 1}),
    "data set": (lambda: {"x": tf.data.Dataset.from_tensor_slices(X).batch(16)}, {"batch_size": None}),
    "weighted data set": (
        lambda: {"x": tf.data.Dataset.from_tensor_slices((X, WEIGHTS, WEIGHTS)).batch(16)},
        {"batch_size": None, "validation_data": tf.data.Dataset.from_tensor_slices(X).batch(16)},
    ),
    "generator": (
        lambda: {"x": iter_of([x for (x,) in batches(X)] * 2), "steps_per_epoch": 3},
        {"batch_size": None},
    ),
    "weighted generator": (
        lambda: {"x": iter_of(batches(X, WEIGHTS, WEIGHTS) * 2), "steps_per_epoch": 3},
        {"batch_size": None},
    ),
}


def iter_of(elements):
    yield from elements


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_data(kind):
    data, fit = DATA[kind]
    assert_two_train_as_one(data=data, fit=fit)


def convolutional():
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"), layers.Flatten(), IndependentNormal(2)]
    )
    decoder = keras.Sequential(
        [
            layers.Dense(4 * 4 * 4, "relu"),
            layers.Reshape((4, 4, 4)),
            layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"),
            IndependentNormal((8, 8, 1)),
        ]
    )
    return keras_vae.VAE(encoder, decoder, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": False},
        {"run_eagerly": True},
        {"steps_per_execution": 2},
        {"build": bernoulli_vae},
        {"build": convolutional},
        {"build": convolutional, "jit_compile": True},
        {"build": lambda: gaussian_vae(dtype="float64")},
    ],
    ids=str,
)
def test_every_way_to_compile(options):
    assert_two_train_as_one(**options)


@pytest.mark.slow
@pytest.mark.parametrize("policy, rtol", [("mixed_bfloat16", 2e-2), ("mixed_float16", 2e-3)])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_mixed_precision(policy, rtol, jit_compile):
    """To a few roundings of the half-precision numbers; the loss scale is Keras's own, which it brings for float16."""

    def build():
        keras.mixed_precision.set_global_policy(policy)
        return gaussian_vae()

    try:
        (_, expected), (two, history) = (fitted(n, build=build, jit_compile=jit_compile) for n in (1, 2))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert isinstance(two.optimizer, optimizers.LossScaleOptimizer) is (policy == "mixed_float16")
    for name, curve in expected.items():
        np.testing.assert_allclose(history[name], curve, rtol=rtol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [True, False])
def test_batch_normalization_and_dropout(jit_compile):
    """Moving averages are the mean of the shares'; with equal shares that of means is the whole batch's."""

    def build():
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential(
            [layers.Flatten(), layers.BatchNormalization(momentum=0.0), layers.Dropout(0.5), IndependentNormal(2)]
        )
        return keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0)

    vae = made(2, build=build, jit_compile=jit_compile)
    history = vae.fit(X[:32], epochs=20, batch_size=32, verbose=0, shuffle=False).history
    assert history["loss"][-1] < history["loss"][0]
    moving_mean = vae.encoder.layers[1].moving_mean
    for copy in moving_mean.value.values:
        np.testing.assert_allclose(copy, X[:32].reshape(32, -1).mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [True, False])
def test_what_two_replicas_give_is_what_one_device_gives(jit_compile):
    one, two = assert_two_train_as_one(jit_compile=jit_compile, metrics=["mse"])
    for result in (
        lambda vae: vae.predict(X, batch_size=16, verbose=0)["nll"],
        lambda vae: vae.predict(X, batch_size=16, verbose=0)["reconstruction"],
        lambda vae: vae.transform(X, batch_size=16, verbose=0),
        lambda vae: vae.log_prob_of_elements(X, num_samples=5, batch_size=16, verbose=0, seed=0),
        lambda vae: vae.log_likelihood(X, num_samples=50, batch_size=16, verbose=0, seed=0),
        lambda vae: vae.generate(3, seed=0),
        lambda vae: vae.reconstruct(X, sample=True, seed=0),
    ):
        np.testing.assert_allclose(result(two), result(one), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_imputations_of_two_replicas_are_draws_of_their_own():
    """No row of one replica's repeats a row of the other's, in whatever imputation."""
    x = np.full((32, 3), np.nan, "float32")
    x[:, 0] = 1.0
    for family in (IndependentNormal, keras_vae.layers.IndependentPoisson):
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            encoder = keras.Sequential([keras_vae.layers.Impute(), IndependentNormal(2)])
            decoder = keras.Sequential([layers.Dense(4), keras_vae.layers.Masked(family(3))])
            vae = keras_vae.VAE(encoder, decoder, seed=0)
            vae(x)
        draws = np.stack(vae.impute(x, num_samples=20, num_imputations=2, batch_size=32, verbose=0, seed=0))[..., 1:]
        if family is IndependentNormal:
            assert len(np.unique(draws.reshape(64, 2), axis=0)) == 64
        else:
            assert (draws[:, :16] != draws[:, 16:]).mean() > 0.1


def test_models_on_two_replicas_are_freed():
    models = []
    for _ in range(2):
        vae = made(2, jit_compile=False)
        vae.fit(X, validation_data=X, batch_size=16, verbose=0)
        models.append(weakref.ref(vae))
        del vae
    keras.backend.clear_session()
    gc.collect()
    assert [each for each in models if each() is not None] == []


@pytest.mark.parametrize("kind", ["sparse", pytest.param("mapped", marks=pytest.mark.slow)])
def test_sparse_and_mapped_rows_reach_two_replicas(kind, tmp_path):
    flat = X.reshape(33, 64)
    np.save(tmp_path / "x.npy", flat)
    x = scipy.sparse.csr_array(flat) if kind == "sparse" else np.load(tmp_path / "x.npy", mmap_mode="r")

    def curve(replicas, x):
        vae = made(replicas, build=lambda: gaussian_vae((64,)), jit_compile=False)
        vae.adapt(x)
        return vae.fit(x, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"], vae.transform(
            x, verbose=0
        )

    (expected, means), (found, means_of_two) = curve(1, flat), curve(2, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(means_of_two, means, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_outside_the_scope_built_before_and_fitted_twice_in_it():
    curves = []
    for replicas in (1, 2):
        vae = made(replicas)
        vae.build((None, 8, 8, 1))
        vae.compile(optimizers.Adam(1e-2))
        with vae.distribute_strategy.scope() if replicas == 2 else contextlib.nullcontext():
            fits = [vae.fit(X, batch_size=16, verbose=0, shuffle=False).history["loss"] for _ in range(2)]
            scores = vae.evaluate(X, batch_size=16, verbose=0), vae.predict(X, batch_size=16, verbose=0)["nll"]
            likelihood = vae.log_likelihood(X, num_samples=50, batch_size=16, seed=0, verbose=0)
        curves.append(np.concatenate([np.ravel(fits), *scores, likelihood]))
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False])
def test_saved_and_loaded_inside_and_outside_a_scope_training_goes_on(inside, tmp_path):
    vae, _ = fitted(2, fit={"epochs": 1})
    vae.save(tmp_path / "vae.keras")
    with vae.distribute_strategy.scope() if inside else contextlib.nullcontext():
        again = keras.saving.load_model(tmp_path / "vae.keras")
    assert again.optimizer.iterations == 3
    curves = [each.fit(X, batch_size=16, epochs=2, verbose=0, shuffle=False).history for each in (vae, again)]
    for name, curve in curves[0].items():
        np.testing.assert_allclose(curves[1][name], curve, rtol=1e-5, err_msg=name)


def test_parts_made_outside_the_scope_are_refused():
    inputs = keras.Input((8, 8, 1))
    encoder = keras.Model(inputs, IndependentNormal(2)(layers.Flatten()(inputs)))  # makes its variables at once
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]))
        vae.compile("adam")
    with pytest.raises(ValueError, match=r"variables to be made in the strategy's scope.*received 2 made outside"):
        vae.fit(X, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw, clipnorm", "average, overwriting", "accumulation", "loss scale"])
def test_an_optimizer_made_outside_the_scope(name):
    curves = []
    for replicas in (1, 2):
        vae = made(replicas, jit_compile=False)
        vae.compile(OPTIMIZERS[name](), jit_compile=False)
        curves.append(vae.fit(X, batch_size=16, epochs=2, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


@pytest.mark.slow
def test_callbacks_see_every_batch():
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"])))
    fitted(2, fit={"callbacks": [watch, keras.callbacks.TerminateOnNaN()], "epochs": 1})
    assert [batch for batch, _ in seen] == [0, 1, 2] and len({float(loss) for _, loss in seen}) == 3


@pytest.mark.slow
def test_callbacks_watch_two_replicas_and_change_nothing(tmp_path):
    weights = []
    for callbacks in (
        [],
        [
            keras_vae.callbacks.TensorBoard(tmp_path / "logs"),
            keras_vae.callbacks.Gallery(tmp_path / "gallery"),
            keras_vae.callbacks.CollapseAlarm(),
        ],
    ):
        vae = made(2, jit_compile=False)
        vae.fit(X[:64], validation_data=X[:32], batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
        weights.append(vae.get_weights())
    for alone, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(alone, watched)
    assert (tmp_path / "gallery" / "reconstructions-0002.png").is_file()
    assert (tmp_path / "logs" / "train" / "projector" / "points.tsv").read_text().count("\n") == 32
