"""Training through Keras: every kind of data, exact metrics, weights, schedules, compilation, determinism, bad data.

What is not about compilation runs without XLA, which takes seconds a program: test_blocks.py says that it is the same.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small import as_new, bernoulli_vae, digits, gaussian_vae, restart_noise

import keras_vae
from keras_vae.layers import IndependentNormal
from keras_vae.objectives import ELBO

X = digits()[:50]
Y = np.arange(50)
WEIGHTS = np.random.default_rng(0).uniform(0.0, 3.0, size=50).astype("float32")


class Batches(keras.utils.PyDataset):
    """A `PyDataset` over arrays."""

    def __init__(self, *arrays, size=16):
        super().__init__()
        self.arrays, self.size = arrays, size

    def __len__(self):
        return -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        batch = tuple(None if array is None else array[rows] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


def generated(*arrays, size=16):
    batches = Batches(*arrays, size=size)
    return (batches[i] for i in itertools.chain.from_iterable(itertools.repeat(range(len(batches)), 2)))


def as_arrays(*arrays):
    return {**dict(zip(("x", "y", "sample_weight"), arrays, strict=False)), "batch_size": 16, "shuffle": False}


def as_dataset(*arrays):
    """With shapes known only in part, as of a pipeline of files."""
    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays)
    batches = Batches(*arrays)
    steps = [batches[i] if len(arrays) > 1 else (batches[i],) for i in range(len(batches))]
    return {"x": tf.data.Dataset.from_generator(lambda: iter(steps), output_signature=signature)}


def as_sliced_dataset(*arrays):
    return {"x": tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(16)}


def as_py_dataset(*arrays):
    return {"x": Batches(*arrays), "shuffle": False}


def as_generator(*arrays):
    return {"x": generated(*arrays), "steps_per_epoch": 4}


KINDS = {
    "arrays": as_arrays,
    "dataset": as_dataset,
    "sliced dataset": as_sliced_dataset,
    "PyDataset": as_py_dataset,
    "generator": as_generator,
}


@pytest.mark.filterwarnings("ignore:.*shuffle=True. was passed:UserWarning")
@pytest.mark.parametrize(
    "arrays",
    [pytest.param((X,), marks=pytest.mark.slow), pytest.param((X, Y), marks=pytest.mark.slow), (X, Y, WEIGHTS)],
    ids=["x", "x, y", "x, y, weights"],
)
def test_every_kind_of_data_trains_alike(arrays):
    """The same batches in the same order give the same losses, whatever hands them over."""
    histories = {}
    for kind, as_kind in KINDS.items():
        vae = as_new()
        histories[kind] = vae.fit(**as_kind(*arrays), epochs=2, verbose=0).history
    assert len(histories["arrays"]["loss"]) == 2
    for kind, history in histories.items():
        assert set(history) == {"loss", "elbo", "nll", "kl", "sigma"}
        for name in history:
            np.testing.assert_allclose(history[name], histories["arrays"][name], rtol=1e-6, err_msg=f"{kind} {name}")


@pytest.mark.filterwarnings("ignore:.*shuffle=True. was passed:UserWarning")
@pytest.mark.parametrize(
    "kind", ["arrays", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("PyDataset", "generator"))]
)
def test_sample_weight_without_labels_counts(kind):
    losses = []
    for labels in (Y, None):
        vae = as_new()
        losses.append(vae.fit(**KINDS[kind](X, labels, WEIGHTS), epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    unweighted = as_new()
    assert abs(unweighted.fit(X, batch_size=16, verbose=0, shuffle=False).history["loss"][0] - losses[0][0]) > 1.0


def terms_of(vae, x, batch_size):
    """Per-example terms under the noise that `evaluate` sees."""
    outputs = vae.predict(x, batch_size=batch_size, verbose=0)
    return outputs["nll"].astype("float64"), outputs["kl"].astype("float64")


@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
@pytest.mark.parametrize(
    "weights", [pytest.param(None, marks=pytest.mark.slow), WEIGHTS], ids=["unweighted", "weighted"]
)
def test_metrics_are_exact_over_the_epoch(jit_compile, steps_per_execution, weights):
    """Against NumPy, with a last batch of 2 after 3 of 16: in `evaluate`, and in a `fit` of learning rate 0."""
    vae = gaussian_vae(objective=ELBO(beta=0.25))
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    nll, kl = terms_of(vae, X, 16)
    w = np.ones(50) if weights is None else weights.astype("float64")
    expected = {
        "loss": np.sum(w * (nll + 0.25 * kl)) / 50,  # Keras: the weighted sum over the number of examples
        "nll": np.sum(w * nll) / np.sum(w),
        "kl": np.sum(w * kl) / np.sum(w),
        "elbo": -np.sum(w * (nll + kl)) / np.sum(w),
    }
    evaluated = vae.evaluate(X, sample_weight=weights, batch_size=16, verbose=0, return_dict=True)
    restart_noise(vae)
    fitted = vae.fit(X, sample_weight=weights, batch_size=16, shuffle=False, verbose=0).history
    for name, value in expected.items():
        np.testing.assert_allclose(evaluated[name], value, rtol=2e-6, err_msg=name)
        np.testing.assert_allclose(fitted[name][0], value, rtol=2e-6, err_msg=name)


def test_predict_between_leaves_the_metrics_alone():
    vae = as_new()
    vae.fit(X, verbose=0)
    before = vae.get_metrics_result()
    vae.predict(X, verbose=0)
    vae(X)
    assert vae.get_metrics_result() == before


@pytest.mark.parametrize("validation", [X[:20], (X[:20], None, WEIGHTS[:20]), (X[:20], Y[:20], WEIGHTS[:20])])
def test_validation_data(validation):
    vae = gaussian_vae()
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    history = vae.fit(X, batch_size=50, validation_data=validation, validation_batch_size=20, verbose=0).history
    outputs = vae.predict(X[:20], batch_size=20, verbose=0)
    w = WEIGHTS[:20] if isinstance(validation, tuple) else np.ones(20)
    np.testing.assert_allclose(history["val_nll"], np.sum(w * outputs["nll"]) / np.sum(w), rtol=1e-5)
    np.testing.assert_allclose(history["val_loss"], np.sum(w * (outputs["nll"] + outputs["kl"])) / 20, rtol=1e-5)


def test_validation_split_and_validation_dataset():
    vae = as_new()
    history = vae.fit(X, sample_weight=WEIGHTS, validation_split=0.2, epochs=2, verbose=0).history
    assert len(history["val_elbo"]) == 2
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(16)
    history = vae.fit(X, validation_data=dataset, epochs=2, verbose=0).history
    assert len(history["val_elbo"]) == 2


@pytest.mark.parametrize("before", [None, WEIGHTS], ids=["first", "after others"])
def test_per_pixel_sample_weights_are_refused(before):
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False)
    if before is not None:
        vae.fit(X, sample_weight=before, verbose=0)
    with pytest.raises(ValueError, match=r"one number an example, shape \[batch\]; received shape .*8, 8, 1"):
        vae.fit(X, sample_weight=np.ones_like(X), verbose=0)


def test_weights_of_shape_batch_by_one():
    vae = gaussian_vae()
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    results = []
    for weights in (WEIGHTS, WEIGHTS[:, None]):
        results.append(vae.evaluate(X, sample_weight=weights, verbose=0, return_dict=True))
    assert results[0] == results[1]


# Compilation.


@pytest.mark.slow
def test_every_way_to_compile_learns_the_same():
    """To rounding: the noise is the same in all of them."""
    losses = {}
    for name, options in {
        "xla": {"jit_compile": True},
        "auto": {},
        "xla blocks": {"jit_compile": True, "steps_per_execution": 3},
        "xla steps": {"jit_compile": True, "steps_per_execution": 1},
        "graph steps": {"jit_compile": False, "steps_per_execution": 1},
        "graph": {"jit_compile": False},
        "eager": {"run_eagerly": True},
    }.items():
        vae = gaussian_vae()
        vae.compile("sgd", **options)
        losses[name] = vae.fit(X, batch_size=16, epochs=3, shuffle=False, verbose=0).history["loss"]
    for name, curve in losses.items():
        np.testing.assert_allclose(curve, losses["graph"], rtol=1e-4, err_msg=name)


def test_auto_compiles_dense_networks_whole_and_convolutions_on_a_cpu_not():
    dense = gaussian_vae()
    dense.compile("sgd")
    assert dense.jit_compile is True
    convolutional = keras_vae.VAE(
        keras.Sequential([layers.Conv2D(2, 3), IndependentNormal(2)]), keras.Sequential([IndependentNormal((8, 8, 1))])
    )
    convolutional.compile("sgd")
    on_cpu = not tf.config.list_physical_devices("GPU")
    assert convolutional.jit_compile is not on_cpu
    convolutional.compile("sgd", jit_compile=True)
    assert convolutional.jit_compile is True


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"loss_weights": [1.0]}])
def test_a_loss_of_the_user_s_is_refused(given):
    with pytest.raises(
        ValueError, match="expected no `loss` and no `loss_weights`, since the loss is the VAE's objective"
    ):
        gaussian_vae().compile("sgd", **given)


def test_compiled_metrics_compare_x_with_its_reconstruction():
    vae = gaussian_vae()
    vae.compile(keras.optimizers.SGD(0.0), metrics=["mse"], jit_compile=False)
    vae.evaluate(X, batch_size=16, verbose=0)
    result = vae.evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)
    vae.noise.restart(vae.noise.evaluation)
    batches = [X[start : start + 16] for start in range(0, 50, 16)]
    reconstruction = np.concatenate([vae(batch, training=False)["reconstruction"] for batch in batches])
    # Keras's own MSE, a mean over the last axis and then over all else.
    key = next(name for name in result if "mse" in name or "squared" in name or name == "compile_metrics")
    np.testing.assert_allclose(result[key], np.mean((X - reconstruction) ** 2), rtol=1e-5)


def test_callbacks_see_epochs_and_stop_training():
    seen = []
    vae = as_new()
    stop = keras.callbacks.EarlyStopping(monitor="val_elbo", mode="min", patience=0)  # the wrong way round, to stop
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(sorted(logs)))
    vae.fit(X, validation_split=0.2, epochs=9, verbose=0, callbacks=[stop, watch])
    assert len(seen) == 2
    names = ["elbo", "kl", "loss", "nll", "sigma"]
    assert seen[0] == [*names, *(f"val_{name}" for name in names)]


@pytest.mark.parametrize("number", [0, -1, 2.5, "8", True])
def test_batch_sizes_and_numbers_of_steps_are_positive_integers(number):
    vae = as_new()
    for name, call in {
        "fit: expected `batch_size`": lambda: vae.fit(X, batch_size=number),
        "fit: expected `validation_batch_size`": lambda: vae.fit(X, validation_data=X, validation_batch_size=number),
        "fit: expected `steps_per_epoch`": lambda: vae.fit(X, steps_per_epoch=number),
        "fit: expected `validation_steps`": lambda: vae.fit(X, validation_data=X, validation_steps=number),
        "evaluate: expected `batch_size`": lambda: vae.evaluate(X, batch_size=number),
        "evaluate: expected `steps`": lambda: vae.evaluate(X, steps=number),
        "predict: expected `batch_size`": lambda: vae.predict(X, batch_size=number),
        "predict: expected `steps`": lambda: vae.predict(X, steps=number),
    }.items():
        with pytest.raises(ValueError, match=f"{name} to be an integer >= 1; received: {number!r}"):
            call()


@pytest.mark.parametrize("split", [1.0, -0.2, 2, 0.999])
def test_a_share_to_validate_on_leaves_rows_on_both_sides(split):
    with pytest.raises(ValueError, match=r"validation_split.*received"):
        as_new().fit(X, validation_split=split)


@pytest.mark.parametrize("x", [X[:, :5], X[..., 0, 0], X[0]], ids=["cut", "flat", "one"])
def test_x_of_another_shape_is_refused_by_predict_in_the_words_of_fit(x):
    vae = as_new()
    for method in (vae.predict, vae.fit):
        with pytest.raises(ValueError, match=r"Expected each x to have the decoder's event shape, \(8, 8, 1\)"):
            method(x, verbose=0)


@pytest.mark.parametrize(("freq", "epochs"), [(np.int64(2), [1]), ((1, 3), [0, 2]), ({2}, [1]), ([3], [2])], ids=repr)
def test_epochs_to_validate_in(freq, epochs):
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch) if "val_loss" in logs else None
    )
    as_new().fit(X, validation_data=X, validation_freq=freq, epochs=3, verbose=0, callbacks=[watch])
    assert seen == epochs


@pytest.mark.parametrize("freq", [0, -1, 2.5, "2", True, [], [0]], ids=repr)
def test_epochs_to_validate_in_are_positive(freq):
    with pytest.raises(ValueError, match="fit: expected `validation_freq` to be an integer >= 1, or a list of epochs"):
        as_new().fit(X, validation_data=X, validation_freq=freq)


def test_class_weights_need_classes():
    with pytest.raises(ValueError, match=r"fit: expected y, the class of each example, .* class_weight=\{0: 1\.0, 1"):
        as_new().fit(X, class_weight={0: 1.0, 1: 2.0})


def test_weights_may_be_a_list():
    vae = as_new()
    expected = vae.evaluate(X, sample_weight=WEIGHTS, verbose=0)
    np.testing.assert_allclose(vae.evaluate(X, sample_weight=WEIGHTS.tolist(), verbose=0), expected, rtol=1e-6)
    vae.fit(X, sample_weight=WEIGHTS.tolist(), validation_split=0.2, verbose=0)


# The loss.


def test_the_users_own_regularisation_is_in_the_loss():
    def loss_of(**options):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([layers.Flatten(), layers.Dense(8, "tanh", **options), IndependentNormal(2)])
        vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]), seed=0)
        vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
        results = [
            vae.evaluate(X, batch_size=50, sample_weight=weights, verbose=0, return_dict=True)
            for weights in (None, WEIGHTS)
        ]
        return vae, [result["loss"] for result in results], [result["elbo"] for result in results]

    vae, plain, elbo = loss_of()
    penalty = 0.1 * np.sum(vae.encoder.layers[1].get_weights()[0] ** 2)
    _, regularised, same_elbo = loss_of(kernel_regularizer=keras.regularizers.L2(0.1))
    np.testing.assert_allclose(np.subtract(regularised, plain), penalty, rtol=1e-3)
    assert elbo == same_elbo


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """step / 4, and at most 3."""

    def __call__(self, step):
        return keras.ops.minimum(keras.ops.cast(step, "float32") / 4.0, 3.0)

    def get_config(self):
        return {}


@pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_beta_follows_its_schedule_in_training_and_is_final_outside(jit_compile):
    vae = gaussian_vae(objective=ELBO(beta=Ramp()))
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    betas = []
    for _ in range(6):
        vae.reset_metrics()  # older Keras does not
        logs = vae.train_on_batch(X, return_dict=True)
        betas.append((logs["loss"] - logs["nll"]) / logs["kl"])
    np.testing.assert_allclose(betas, np.arange(6) / 4, atol=1e-4)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    np.testing.assert_allclose((logs["loss"] - logs["nll"]) / logs["kl"], 3.0, rtol=1e-4)
    np.testing.assert_allclose(logs["elbo"], -(logs["nll"] + logs["kl"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "final"),
    [
        (keras.optimizers.schedules.PolynomialDecay(0.0, 100, end_learning_rate=0.5), 0.5),
        (keras.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.0, 0.1, 2.0]), 2.0),
        (keras.optimizers.schedules.CosineDecay(1.0, 50, alpha=0.25), 0.25),
        (keras.optimizers.schedules.ExponentialDecay(1.0, 100, 0.9), 0.0),
    ],
)
def test_any_keras_schedule_weighs_the_kl(schedule, final):
    vae = gaussian_vae(objective=ELBO(beta=schedule))
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    logs = vae.train_on_batch(X, return_dict=True)
    np.testing.assert_allclose((logs["loss"] - logs["nll"]) / logs["kl"], float(schedule(0)), atol=1e-4)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    np.testing.assert_allclose((logs["loss"] - logs["nll"]) / logs["kl"], final, atol=1e-4)


def test_kl_is_raw_when_its_weight_is_zero():
    vae = gaussian_vae(objective=ELBO(beta=0.0))
    vae.compile("sgd", jit_compile=False)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    assert logs["kl"] > 0 and logs["loss"] == pytest.approx(logs["nll"], rel=1e-6)


def test_a_vae_learns():
    """From the first epoch's bound to well beyond that of the best single Gaussian per pixel, on held-out digits."""
    x = digits()
    vae = gaussian_vae(latent=8, units=64)
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(x[:1500], epochs=40, batch_size=50, verbose=0)
    centred = x[1500:] - x[:1500].mean(axis=0)
    variance = np.mean((x[:1500] - x[:1500].mean(axis=0)) ** 2)
    one_gaussian = -0.5 * np.mean(np.sum(np.log(2 * np.pi * variance) + centred**2 / variance, axis=(1, 2, 3)))
    assert vae.evaluate(x[1500:], verbose=0, return_dict=True)["elbo"] > one_gaussian + 15


# Seeds.


@pytest.mark.parametrize("jit_compile", [pytest.param(True, marks=pytest.mark.slow), False])
def test_the_same_seed_gives_the_same_run_and_another_does_not(jit_compile):
    def run(seed):
        vae = gaussian_vae(seed=seed)
        vae.compile("sgd", jit_compile=jit_compile)
        vae.fit(X[:48], batch_size=16, epochs=3, verbose=0)
        return vae.get_weights()

    first, second, other = run(7), run(7), run(8)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_set_random_seed_is_honoured_where_no_seed_is_given():
    def run(seed):
        keras.utils.set_random_seed(seed)
        encoder = keras.Sequential([layers.Flatten(), IndependentNormal(2)])
        vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]))
        vae.compile("sgd", jit_compile=False)
        return vae.fit(X[:32], epochs=2, verbose=0).history["loss"]

    assert run(1) == run(1) != run(2)


# Bad data.


def with_value(value, *position):
    x = X.copy()
    x[position] = value
    return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_with_their_position(value):
    vae = as_new()
    x = with_value(value, 17, 3, 2, 0)
    x[40] = np.nan
    message = rf"Expected x to be finite; received {value} at position \[17, 3, 2, 0\], the first of 65 value"
    for use in (vae.fit, vae.evaluate):
        with pytest.raises(ValueError, match=message):
            use(x, verbose=0)
    with pytest.raises(ValueError, match=message):
        vae.log_likelihood(x, verbose=0)
    assert vae.optimizer.iterations == 0
    with pytest.raises(ValueError, match="Expected validation x to be finite"):
        vae.fit(X, validation_data=x, verbose=0)


@pytest.mark.filterwarnings("ignore:.*shuffle=True. was passed:UserWarning")
@pytest.mark.parametrize("kind", ["dataset", "sliced dataset", "PyDataset", "generator"])
@pytest.mark.parametrize("steps_per_execution, steps", [(1, 2), ("auto", 0)])
def test_a_bad_batch_of_a_stream_stops_training_before_its_block(kind, steps_per_execution, steps):
    """The third of four batches is bad: a block that holds it is not run, and the error is not the pipeline's."""
    vae = gaussian_vae()
    vae.compile("sgd", jit_compile=False, steps_per_execution=steps_per_execution)
    with pytest.raises(
        ValueError, match=r"^Expected x to be finite; received nan at position \[3, 0, 0, 0\] of batch 2"
    ):
        vae.fit(**KINDS[kind](with_value(np.nan, 35, 0, 0, 0)), verbose=0)
    assert vae.optimizer.iterations == steps


def test_pixels_not_scaled_for_a_bernoulli():
    vae = bernoulli_vae()
    vae.compile("sgd", jit_compile=False)
    message = r"IndependentBernoulli scores x in \[0, 1\]; received [0-9.]+ at position .*x.astype\('float32'\) / 255"
    with pytest.raises(ValueError, match=message):
        vae.fit(X * 255, verbose=0)
    with pytest.raises(
        ValueError, match=r"scores x in \[0, 1\]; received -0.5 at position \[0, 0, 0, 0\], the first of 1 .* outside.$"
    ):
        vae.fit(with_value(-0.5, 0, 0, 0, 0), verbose=0)
    with pytest.raises(ValueError, match=r"received [0-9]+ at position .* Pixels in 0..255"):
        vae.fit((X * 255).astype("uint8"), verbose=0)
    with pytest.raises(ValueError, match=r"received [0-9.]+ at position .* Pixels in 0..255"):
        vae.fit(tf.data.Dataset.from_tensor_slices(X * 255).batch(16), verbose=0)
    assert vae.optimizer.iterations == 0


@pytest.mark.parametrize(
    "dtype", ["uint8", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("int64", "bool", "float64"))]
)
def test_zeros_and_ones_of_any_type_suit_a_bernoulli(dtype):
    binary = X > 0.5
    options = {"batch_size": 16, "verbose": 0, "shuffle": False}
    expected = as_new(bernoulli_vae).fit(binary.astype("float32"), **options).history["loss"]
    vae = bernoulli_vae()  # to be built from x of this dtype
    vae.compile("adam", jit_compile=False)
    np.testing.assert_allclose(vae.fit(binary.astype(dtype), **options).history["loss"], expected, rtol=1e-6)


def test_unscaled_bytes_for_a_normal():
    vae = as_new()
    message = r"IndependentNormal scores real numbers, of bytes 0 and 1; received [0-9]+ at .*x.astype\('float32'\)"
    with pytest.raises(ValueError, match=message):
        vae.fit((X * 255).astype("uint8"), verbose=0)
    with pytest.warns(UserWarning, match="x holds numbers up to 255"):  # wide real numbers are data like any other
        vae.fit((X * 255).astype("float32"), verbose=0)


@pytest.mark.filterwarnings("ignore:.*shuffle=True. was passed:UserWarning")
@pytest.mark.parametrize(
    "empty",
    [X[:0], tf.data.Dataset.from_tensor_slices(X[:0]).batch(4), Batches(X[:0]), (batch for batch in ())],
    ids=["array", "dataset", "PyDataset", "generator"],
)
def test_no_data_at_all(empty):
    vae = as_new()
    with pytest.raises(ValueError, match="Expected x to hold at least one example; received an empty data set"):
        vae.fit(empty, verbose=0)


def test_data_that_is_no_number():
    vae = as_new()
    with pytest.raises(ValueError, match="Expected x to hold numbers; received dtype <U1"):
        vae.fit(np.full((4, 8, 8, 1), "a"), verbose=0)


def test_the_check_can_be_switched_off():
    vae = bernoulli_vae()
    vae.compile("sgd", jit_compile=False)
    vae.fit(X * 255, verbose=0, check_data=False)
    vae.evaluate(X * 255, verbose=0, check_data=False)
    assert vae.optimizer.iterations > 0


def test_a_bad_value_beside_the_target_is_found_and_named():
    image, label = X, np.ones((50, 3), "float32")
    label[7, 2] = np.nan
    inputs = keras.Input((8, 8, 1)), keras.Input((3,))
    features = layers.Concatenate()([layers.Flatten()(inputs[0]), inputs[1]])
    vae = keras_vae.VAE(
        keras.Model(list(inputs), IndependentNormal(2)(features)), keras.Sequential([IndependentNormal((8, 8, 1))])
    )
    vae.compile("sgd", jit_compile=False)
    message = r"Expected x\[1\] to be finite; received nan at position \[7, 2\]"
    with pytest.raises(ValueError, match=message):
        vae.fit([image, label], verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices(((image, label),)).batch(50)
    with pytest.raises(ValueError, match=message + " of batch 0"):
        vae.fit(dataset, verbose=0)
    label[7, 2] = 0.0
    vae.fit(tf.data.Dataset.from_tensor_slices(((image, label),)).batch(50), verbose=0)  # a 1-tuple stays one


def test_weights_that_are_not_finite():
    vae = as_new()
    with pytest.raises(ValueError, match=r"Expected sample_weight to be finite; received inf at position \[3\]"):
        vae.fit(X, sample_weight=np.where(np.arange(50) == 3, np.inf, 1.0), verbose=0)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_weights_below_0_are_refused(method):
    vae, weights = as_new(), np.ones(50, "float32")
    weights[[3, 7]] = -0.5
    message = r"Expected sample_weight to be >= 0; received -0.5 at position \[3\], the first of 2 weight\(s\) below 0"
    with pytest.raises(ValueError, match=message):
        getattr(vae, method)(X, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=message):
        vae.fit(X, validation_data=(X, None, weights), verbose=0)
    vae.fit(X, sample_weight=np.maximum(weights, 0.0), verbose=0)


def test_labels_of_any_kind_are_ignored():
    vae = as_new()
    vae.fit(X, np.array(["digit"] * 50), verbose=0)
    ragged = tf.ragged.constant([[1] * (i % 3) for i in range(50)])
    vae.fit(tf.data.Dataset.from_tensor_slices((X, ragged)).batch(16), verbose=0)
    assert vae.optimizer.iterations == 2 + 4


def test_a_stream_that_turns_out_empty():
    vae = as_new()
    nothing = tf.data.Dataset.from_tensor_slices(X).filter(lambda x: False).batch(4)
    for use in (vae.fit, vae.evaluate):
        with pytest.raises(ValueError, match="Expected x to hold at least one example"):
            use(nothing, verbose=0)


def test_single_examples_in_place_of_batches():
    vae = as_new()
    with pytest.raises(ValueError, match=r"Are these single examples\? Give batches of them: dataset.batch"):
        vae.fit(tf.data.Dataset.from_tensor_slices(X), verbose=0)


def test_another_shape_after_the_first_fit_is_refused():
    """Also by a network that would take it, and where the shape is unknown while tracing."""
    encoder = keras.Sequential(
        [layers.Conv2D(4, 3, padding="same"), layers.GlobalAveragePooling2D(), IndependentNormal(2)]
    )
    vae = keras_vae.VAE(encoder, keras.Sequential([IndependentNormal((8, 8, 1))]))
    vae.compile("sgd", jit_compile=False)
    vae.fit(X, verbose=0)
    for use in (vae.fit, vae.evaluate, vae.log_likelihood):
        with pytest.raises(ValueError, match=r"decoder's event shape, \(8, 8, 1\); received x of shape \(1, 8, 1\)"):
            use(X[:, :1], verbose=0)
    unknown = tf.TensorSpec((None, None, None, 1), "float32")
    dataset = tf.data.Dataset.from_generator(lambda: iter([X[:, :1]]), output_signature=unknown)
    before = vae.get_weights()
    with pytest.raises(ValueError, match=r"received x of shape \(1, 8, 1\)"):
        vae.fit(dataset, verbose=0)
    with pytest.raises(ValueError, match=r"received x of shape \(1, 8, 1\)"):
        vae.fit(dataset, verbose=0, check_data=False)
    assert all(np.array_equal(one, other) for one, other in zip(before, vae.get_weights(), strict=True))


def test_jit_compile_is_checked_and_never_positional():
    with pytest.raises(ValueError, match="expected `jit_compile` to be True, False or 'auto'; received: 'yes'"):
        gaussian_vae().compile("sgd", jit_compile="yes")
    with pytest.raises(TypeError):
        gaussian_vae().compile("sgd", None, ["mse"])


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_before_compile_it_says_so(method):
    with pytest.raises(ValueError, match="compile"):
        getattr(gaussian_vae(), method)(X)
