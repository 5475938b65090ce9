"""The alarms: what sets each off, what does not, what they say, and that training is as it is without them."""

import functools
import re
import types
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from keras import ops
from scripts import module_of
from small import digits, gaussian_vae

import keras_vae
from keras_vae import layers, scales
from keras_vae.callbacks import CollapseAlarm
from keras_vae.callbacks.examples import FitData, first_examples
from keras_vae.callbacks.inspection import Inspector
from keras_vae.engine.block_size import asks_for_batches
from keras_vae.evaluation import ACTIVE_ABOVE

tfd = tfp.distributions

X = digits()[:384]  # twelve batches of 32: a short one would be compiled as well
ROWS = X[:100]  # in batches of 8: twelve, and a short one
BATCHES = 13


class Every(keras.callbacks.Callback):
    """Keeps what a function gives at the end of each epoch."""

    def __init__(self, function):
        super().__init__()
        self.function, self.found = function, []

    def on_epoch_end(self, epoch, logs=None):
        self.found.append(self.function())


class Examples(keras.callbacks.Callback):
    """Keeps the first examples of what `fit` is at work on, as they are at the end of each epoch."""

    def __init__(self, num):
        super().__init__()
        self.num, self.found = num, []

    def on_fit_data(self, training, validation=None):
        self.data = None if training is None else FitData(training, validation)

    def on_epoch_end(self, epoch, logs=None):
        self.found.append(self.data.first_examples(self.model, self.num))


def fit(vae, x=X, alarm=None, others=(), **kwargs):
    """What an alarm says of a fit, and the fit's history."""
    callbacks = [CollapseAlarm() if alarm is None else alarm, *others]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = vae.fit(x, callbacks=callbacks, verbose=0, **kwargs).history
    said = [(each.category, str(each.message)) for each in caught if "CollapseAlarm" in str(each.message)]
    assert all(category is RuntimeWarning for category, _ in said), said
    return [message for _, message in said], history


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def compiled(vae, learning_rate=1e-2, **kwargs):
    vae.compile(keras.optimizers.Adam(learning_rate), **{"jit_compile": False, **kwargs})
    return vae


class Breaks(keras.layers.Layer):
    """Passes on what it is given; but for one step of training, when what it gives, or its gradient, is NaN."""

    def __init__(self, how, **kwargs):
        super().__init__(**kwargs)
        self.how = how

    def build(self, input_shape):
        self.step, self.at = (
            self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name=name)
            for name in ("step", "at")
        )

    def call(self, x, training=None):
        if not training:
            return x
        self.step.assign_add(1)
        is_bad = ops.equal(self.step, self.at)
        if self.how == "forward":
            return ops.where(is_bad, np.nan, x)
        return tf.custom_gradient(lambda x: (x, lambda upstream: tf.where(is_bad, np.nan, upstream)))(x)


@functools.cache
def made(how, steps, jit_compile):
    """A VAE that breaks, compiled, and its first state. Or else one whose likelihood of large numbers is infinite, but
    not its gradient."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(8, "tanh", name="first"),
            Breaks(how, name="breaks"),
            keras.layers.Dense(8, name="later"),
            layers.IndependentNormal(3),
        ]
    )
    likelihood = layers.IndependentNormal((8, 8, 1), scale=0.3)
    if how == "likelihood":
        likelihood = layers.DistributionLambda(laplace)
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(64), likelihood]), seed=0)
    vae.build(ROWS.shape)
    compiled(vae, steps_per_execution=steps, jit_compile=jit_compile)
    vae.optimizer.build(vae.trainable_variables)
    return vae, state_of(vae)


@keras.saving.register_keras_serializable("collapse_alarm_tests")
def laplace(features):
    return tfd.Independent(tfd.Laplace(ops.reshape(features, (-1, 8, 8, 1)), 1e-10), 3)


def restarted(how="forward", steps=5, jit_compile=False, at=0):
    """`made`, as it was at first, to break at the step `at`, from 1 on. In blocks of 5, 5 and 2, and a short one."""
    vae, start = made(how, steps, jit_compile)
    for variable, value in zip(variables_of(vae), start, strict=True):
        variable.assign(value)
    vae.encoder.get_layer("breaks").at.assign(at)
    return vae


def variables_of(vae):
    return [*vae.variables, *vae.optimizer.variables, *vae.metrics_variables]


def state_of(vae):
    """Weights, seeds, optimizer and metrics."""
    return [np.asarray(variable.value).copy() for variable in variables_of(vae)]


def broken_fit(at, how="forward", x=ROWS, alarm=None, epochs=2, steps=5, jit_compile=False, **kwargs):
    """What is said of a fit that breaks at a step; its history; and the state that it leaves."""
    vae = restarted(how, steps, jit_compile, at)
    options = {} if isinstance(x, types.GeneratorType) else {"batch_size": 8, "shuffle": False}
    said, history = fit(vae, x, alarm, epochs=epochs, **options, **kwargs)
    vae.encoder.get_layer("breaks").at.assign(0)
    return said, history, state_of(vae)


# Posterior collapse


def test_latents_that_are_not_used_for_some_epochs_are_warned_of_once():
    vae = compiled(gaussian_vae(scale=scales.Fixed(10.0)))
    active = Every(lambda: int((np.var(vae.encode(X).mean(), axis=0) > ACTIVE_ABOVE).sum()))
    with pytest.warns(RuntimeWarning) as caught:
        said = Every(lambda: sum("CollapseAlarm" in str(each.message) for each in caught))
        vae.fit(X, epochs=5, callbacks=[CollapseAlarm(patience=2), active, said], verbose=0)
    first = active.found.index(0)
    assert active.found[first:] == [0] * (5 - first)
    assert said.found == [int(epoch >= first + 1) for epoch in range(5)]
    messages = [str(each.message) for each in caught if "CollapseAlarm" in str(each.message)]
    assert re.search(
        r"posterior collapse: 0 of 3 latents active for 2 epochs, of 384 examples; expected at least 1\..*beta",
        messages[0],
    )


@pytest.mark.slow
def test_a_weight_of_the_kl_that_is_too_large_is_warned_of():
    said, _ = fit(compiled(gaussian_vae(objective=keras_vae.objectives.ELBO(beta=100.0))), epochs=6)
    assert len(said) == 1 and "posterior collapse" in said[0]


def test_a_healthy_vae_sets_off_none():
    said, history = fit(compiled(gaussian_vae(scale=scales.Shared(initial=0.3))), epochs=5)
    assert said == []
    assert history["kl"][-1] > 1


def test_how_many_should_be_active_and_which_examples_are_looked_at_can_be_said():
    """Of a single example over and over no latent is active."""
    for rows in (40, 31):
        alarm = CollapseAlarm(min_active=2, patience=1, examples=np.repeat(X[:1], rows, axis=0))
        said, _, _ = broken_fit(0, alarm=alarm, epochs=1)
        if rows < 32:
            assert not said, "too few to tell"
        else:
            assert (
                len(said) == 1 and "0 of 3 latents active for 1 epochs, of 40 examples; expected at least 2" in said[0]
            )


# A variance at its floor


def at_floor(scale, small):
    """Sets sigma of the first `small` elements to 1.05 of the floor, and that of the others to 1.2 of it."""
    squares = np.where(np.arange(64) < small, 1.05, 1.2) ** 2 - 1.0
    scale.raw.assign(np.log(squares * scale.floor**2).reshape(scale.raw.shape))


def test_elements_whose_sigma_is_at_its_floor_are_counted():
    scale = scales.PerDimension(floor=0.05)
    vae = compiled(gaussian_vae(scale=scale), learning_rate=1e-6)
    vae.build(X.shape)
    at_floor(scale, 0)
    said, _ = fit(vae, X[:96], epochs=1)
    assert said == []
    at_floor(scale, 10)
    said, _ = fit(vae, X[:96], epochs=2)
    assert len(said) == 1
    assert "floor: for 10 of 64 elements of x sigma has come down to its floor, 0.05:" in said[0]


@pytest.mark.slow
def test_data_of_constant_elements_bring_sigma_to_its_floor():
    x = digits()[:256] + 0.3 * np.random.default_rng(0).normal(size=(256, 8, 8, 1)).astype("float32")
    x[:, :, :2] = 0.5
    vae = compiled(gaussian_vae(scale=scales.PerElement(floor=0.1)), learning_rate=0.03)
    said, _ = fit(vae, x, epochs=6)
    said = [each for each in said if "a variance at its floor" in each]
    assert len(said) == 1
    assert 1 <= int(re.search(r"for (\d+) of 64 elements", said[0]).group(1)) <= 16


@pytest.mark.slow
def test_a_likelihood_that_is_bounded_may_be_at_its_floor():
    keras.utils.set_random_seed(0)
    scale = scales.PerDimension(floor=0.05)
    likelihood = layers.DiscretizedLogistic((8, 8, 1), levels=17, scale=scale)
    decoder = keras.Sequential([keras.layers.Dense(16, "tanh"), likelihood])
    vae = keras_vae.VAE(gaussian_vae().encoder, decoder, seed=0)
    vae.build(X.shape)
    at_floor(scale, 64)
    said, _ = fit(compiled(vae, learning_rate=1e-6), np.round(16 * X[:96]), epochs=1)
    assert np.all(scale.value() < 1.1 * 0.05)
    assert not any("floor" in each for each in said)


def test_a_part_whose_sigma_is_at_its_floor_is_named():
    inputs = {"image": keras.Input((8, 8, 1), name="image"), "mass": keras.Input((1,), name="mass")}
    features = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["image"]), inputs["mass"]])
    encoder = keras.Model(inputs, layers.IndependentNormal(2)(features))
    scale = scales.PerDimension(floor=0.05)
    parts = {
        "image": layers.IndependentNormal((8, 8, 1), scale=scale),
        "mass": layers.IndependentNormal(1, scale=scales.Shared()),
    }
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(8), layers.Joint(parts)]), seed=0)
    x = {"image": X[:96], "mass": X[:96].sum(axis=(1, 2))}
    vae.build({name: part.shape for name, part in x.items()})
    at_floor(scale, 5)
    said, _ = fit(compiled(vae, learning_rate=1e-6), x, epochs=1)
    assert len(said) == 1 and "for 5 of 64 elements of x of the part 'image' sigma" in said[0]


# KL exploding


def shift_means(vae, by):
    """Shifts the mean of q(z|x), of three latents: from 0, a KL of 3 / 2 by^2 nats."""
    kernel, bias = vae.encoder.layers[-1].get_weights()
    vae.encoder.layers[-1].set_weights([kernel, bias + by * (np.arange(6) < 3)])


def test_a_kl_that_is_large_and_grows_is_warned_of_once_in_numbers():
    vae = restarted()
    shift = Every(lambda: shift_means(vae, 15.0))
    said, history = fit(vae, ROWS, others=[shift], batch_size=8, epochs=3)
    kl = history["kl"]
    assert kl[0] < 60 < 200 < kl[1] < kl[2], "what the test is about"
    assert len(said) == 1 and "KL exploding" in said[0]
    now, a_latent, before = map(
        float, re.search(r"is (\S+) nats, (\S+) a latent, and was (\S+) nats before", said[0]).groups()
    )
    assert (before, now, a_latent) == pytest.approx((kl[0], kl[1], kl[1] / 3), rel=1e-3)


def test_a_kl_that_grows_within_bounds_is_none():
    said, history, _ = broken_fit(0)
    assert 0.9 < np.max(history["kl"]) < 60 and said == []
    said, _, _ = broken_fit(0, alarm=CollapseAlarm(max_kl=0.3))
    assert len(said) == 1 and "KL exploding" in said[0]


def test_a_kl_that_is_large_and_falls_is_none():
    vae = restarted()
    shift_means(vae, 15.0)
    said, history = fit(vae, ROWS, batch_size=8, epochs=3)
    assert min(history["kl"]) > 60 and np.all(np.diff(history["kl"]) < 0)
    assert said == []


# A term that is not finite


def place(at):
    """Epoch and batch of a step, as they are told."""
    return f"in epoch {(at - 1) // BATCHES + 1},", (at - 1) % BATCHES


# In all: the first, the first of a block, within one, the short one that ends an epoch, in the second epoch.
@pytest.mark.parametrize("at", [1, 6, slow(8), 13, 17])
def test_the_batch_and_the_layer_are_named(at):
    said, _, _ = broken_fit(at)
    epoch, batch = place(at)
    assert len(said) == 1 and f"{epoch} batch {batch}: nll and kl not finite: " in said[0]
    assert "not finite: the first output that is not is that of layer 'breaks', a Breaks. Lower the" in said[0]


# In all: the first, the last of a block, within one, the one before the short one, in the second epoch.
@pytest.mark.parametrize("at", [slow(1), 5, slow(8), 12, 17])
def test_the_batch_whose_gradient_is_not_finite_is_named_and_a_weight(at):
    said, _, _ = broken_fit(at, "gradient")
    epoch, batch = place(at)
    assert len(said) == 1 and f"{epoch} after batch {batch}, all of whose terms are finite, a gradient" in said[0]
    assert re.search(r"not finite: that of 2 weights, of which '.*first/bias' is nearest to the loss\.", said[0])


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_gradient_at_the_end_of_an_epoch_shows_in_the_weights(epochs):
    said, _, _ = broken_fit(BATCHES, "gradient", epochs=epochs)
    assert len(said) == 1 and f"in epoch 1, after batch {BATCHES - 1}, all of whose terms are finite" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 7])
def test_any_number_of_steps_is_looked_through(steps):
    said, _, _ = broken_fit(8, steps=steps, epochs=1)
    assert len(said) == 1 and "in epoch 1, batch 7: nll and kl not finite" in said[0] and "'breaks'" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("at", [8, BATCHES])
@pytest.mark.parametrize("how", ["forward", "gradient"])
def test_a_block_that_is_a_whole_epoch_is_looked_through_with_xla(how, at):
    said, _, _ = broken_fit(at, how, steps="auto", jit_compile=True)
    epoch, batch = place(at)
    expected = f"batch {batch}: nll and kl not finite" if how == "forward" else f"after batch {batch}, all"
    assert len(said) == 1 and f"{epoch} {expected}" in said[0]


def test_xla_too_is_looked_through_and_watching_changes_nothing():
    """Of 17 steps: with XLA in one program, without and with the alarm, and then bad at the eighth."""
    options = {"jit_compile": True, "steps": 4, "epochs": 1, "x": ROWS[:96]}
    _, history, watched = broken_fit(0, **options)
    vae = restarted(steps=4, jit_compile=True)
    unwatched = vae.fit(ROWS[:96], batch_size=8, shuffle=False, verbose=0).history
    assert unwatched == history
    for one, other in zip(state_of(vae), watched, strict=True):
        np.testing.assert_array_equal(one, other)
    said, _, _ = broken_fit(8, **options)
    assert len(said) == 1 and "in epoch 1, batch 7: nll and kl not finite" in said[0] and "'breaks'" in said[0]


@pytest.mark.parametrize(
    ("how", "at"), [("forward", 1), ("forward", 8), slow("forward", 13), ("gradient", 5), slow("gradient", 8)]
)
def test_stopped_is_stopped_as_if_it_had_ended_before_the_bad_batch(how, at):
    said, history, stopped = broken_fit(at, how, alarm=CollapseAlarm(stop=True))
    assert len(said) == 1 and len(history["loss"]) == 1
    if at == 1:
        expected = state_of(restarted(how))
    else:
        _, _, expected = broken_fit(0, how, x=ROWS[: 8 * (at - 1)], epochs=1)
    vae, _ = made(how, 5, False)
    assert int(vae.optimizer.iterations) == at - 1
    for variable, one, other in zip(variables_of(vae), stopped, expected, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=variable.path)


def test_not_stopped_training_goes_on_as_without_the_alarm():
    """One likelihood is infinite; its gradient is not."""
    x = ROWS.copy()
    x[60] = 1e30
    said, history, watched = broken_fit(0, "likelihood", x=x)
    assert len(said) == 1
    assert "in epoch 1, batch 7: nll not finite: all layers' outputs are, but what the likelihood makes" in said[0]
    vae = restarted("likelihood")
    with pytest.warns(RuntimeWarning, match="fit: not finite: in epoch 1, loss and nll"):
        unwatched = vae.fit(x, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    assert len(unwatched["loss"]) == 2
    np.testing.assert_equal(history, unwatched)
    for variable, one, other in zip(variables_of(vae), state_of(vae), watched, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=variable.path)
    assert int(vae.optimizer.iterations) == 2 * BATCHES
    assert all(np.isfinite(each).all() for each in vae.get_weights())


def test_terms_that_are_finite_may_have_a_sum_that_is_not():
    """The likelihoods of two examples are the largest number there is."""
    x = ROWS.copy()
    x[60:62] = 1e25
    said, _, _ = broken_fit(0, x=x, epochs=1)
    assert len(said) == 1
    assert "batch 7: a term not finite: of each example all are, run again, with nll as high as 3.4e+38." in said[0]


def test_in_eager_mode_the_terms_alone_are_named():
    vae = gaussian_vae()
    vae.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    x = ROWS[:16].copy()
    x[8:10] = 1e25
    said, history = fit(vae, x, alarm=CollapseAlarm(stop=True), batch_size=8, epochs=2, shuffle=False)
    assert len(said) == 1 and len(history["loss"]) == 1
    assert re.search(r"in epoch 1, nll( and kl)? by the end of batch \d+, averaged over the epoch so far\.", said[0])


def test_weights_that_are_not_finite_are_no_posterior_collapse():
    """The gradient is NaN at the epoch's last batch, after which no term is asked for."""
    said, _, _ = broken_fit(BATCHES, "gradient", alarm=CollapseAlarm(patience=1), epochs=1)
    assert not any("posterior collapse" in each for each in said)


# What is looked at, and when


def test_a_generator_is_watched_and_judged_by_the_steps_run_last():
    def batches():
        while True:
            yield from (X[start : start + 8] for start in range(0, 384, 8))

    vae = restarted()
    seen = Examples(400)
    said, _ = fit(vae, batches(), CollapseAlarm(), [seen], steps_per_epoch=50, epochs=1)
    assert said == []
    [(x, y)] = seen.found
    np.testing.assert_array_equal(x, X[np.arange(360, 400) % 384])
    assert y is None
    vae.optimizer.learning_rate.assign(0.3)
    said, _ = fit(vae, batches(), CollapseAlarm(max_kl=3.0), steps_per_epoch=48, epochs=2)
    assert len(said) == 1 and "KL exploding" in said[0]

    x = ROWS[:24].copy()
    x[20] = 1e30
    said, _, _ = broken_fit(0, "likelihood", x=(x[start : start + 8] for start in (0, 8, 16)), epochs=1)
    assert len(said) == 1 and "batch 2: nll not finite" in said[0]


def test_blocks_are_as_long_with_it():
    assert asks_for_batches(CollapseAlarm()) is False


def test_what_it_cannot_look_at_does_not_stop_training(monkeypatch):
    def fails(self, z):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(Inspector, "sigmas", fails)
    said, history, _ = broken_fit(0, epochs=1)
    assert len(said) == 1 and re.search("could not look at epoch 1: .*no such luck. Training goes on", said[0])
    assert len(history["loss"]) == 1


@pytest.mark.slow
def test_the_quick_start_sets_off_none():
    quickstart = module_of("quickstart")
    keras.utils.set_random_seed(0)
    data = quickstart.load_digits(seed=0)
    vae = quickstart.build(data)
    said = []

    class Watched:
        """The model, with an alarm in its fit."""

        compile = vae.compile

        def fit(self, x, **kwargs):
            messages, history = fit(vae, x, **kwargs)
            said.extend(messages)
            return types.SimpleNamespace(history=history)

    history = quickstart.train(Watched(), data, quickstart.EPOCHS["digits"])
    assert said == []
    assert len(history["val_kl"]) == quickstart.EPOCHS["digits"]


# Arguments


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"patience": 0}, "CollapseAlarm: expected `patience` to be an integer >= 1; received: 0"),
        ({"min_active": 0}, "CollapseAlarm: expected `min_active` to be an integer >= 1; received: 0"),
        ({"max_kl": -1}, "CollapseAlarm: expected `max_kl` to be a positive number; received: -1"),
        ({"max_kl": "a"}, "CollapseAlarm: expected `max_kl` to be a positive number; received: 'a'"),
        ({"max_kl": True}, "CollapseAlarm: expected `max_kl` to be a positive number; received: True"),
    ],
)
def test_bad_arguments(argument, message):
    with pytest.raises(ValueError, match=message):
        CollapseAlarm(**argument)


def test_more_latents_than_there_are_cannot_be_active():
    with pytest.raises(ValueError, match="`min_active` to be at most the number of latents, 3; received: 4"):
        fit(restarted(), X, CollapseAlarm(min_active=4))


def test_x_itself_is_blamed_first():
    x = ROWS.copy()
    x[20] = np.nan
    said, _, _ = broken_fit(0, x=x, epochs=1, check_data=False)
    assert len(said) == 1 and "batch 2: x itself is not finite" in said[0]


def test_a_model_that_is_no_vae_is_refused():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"CollapseAlarm: expected a model that is a keras_vae\.VAE; .*: Sequential"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[CollapseAlarm()], verbose=0)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (
            np.ones((4, 5, 5, 1)),
            r"CollapseAlarm: of `examples`: Expected each example .* \(8, 8, 1\); received .*\(5, 5, 1\)",
        ),
        (np.ones((0, 8, 8, 1)), r"CollapseAlarm: expected `examples` to be arrays of as many rows, and at least one"),
        (1.0, r"CollapseAlarm: expected `examples` to be an array, or a structure of arrays; received a float"),
        ({"a": X[:3]}, r"CollapseAlarm: expected `examples` of the structure of x, which is \(None, 8, 8, 1\); .*'a'"),
    ],
)
def test_examples_that_do_not_fit_are_refused_before_training(examples, message):
    vae = compiled(gaussian_vae())
    with pytest.raises(ValueError, match=message):
        vae.fit(X, callbacks=[CollapseAlarm(examples=examples)], verbose=0)
    assert int(vae.optimizer.iterations) == 0


# The first examples of the data


class Batches(keras.utils.PyDataset):
    """x and labels in batches of four."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.x) // 4)

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return self.x[rows], self.y[rows]


LABELS = np.arange(30)
DATA = {
    "arrays": lambda x: (x, LABELS),
    "tensor": lambda x: (tf.constant(x), LABELS),
    "dataset": lambda x: (tf.data.Dataset.from_tensor_slices((x, LABELS)).batch(4), None),
    "pydataset": lambda x: (Batches(x, LABELS), None),
}


@pytest.mark.parametrize("num", [3, 4, 10, 30, 50])
@pytest.mark.parametrize("kind", DATA)
def test_the_first_examples_are_those_of_any_data(kind, num):
    x, y = first_examples(*DATA[kind](X[:30]), num)
    np.testing.assert_array_equal(x, X[:30][:num])
    np.testing.assert_array_equal(y, LABELS[:num])


@pytest.mark.parametrize("as_dataset", [False, True])
def test_the_first_examples_are_of_each_part(as_dataset):
    data = {"image": X[:30], "mass": X[:30].sum(axis=(1, 2))}
    given = tf.data.Dataset.from_tensor_slices(data).batch(4) if as_dataset else data
    x, y = first_examples(given, None, 10)
    assert y is None and list(x) == ["image", "mass"]
    for name in x:
        np.testing.assert_array_equal(x[name], data[name][:10])


def test_a_generator_is_left_alone():
    batches = iter([X[:4], X[4:8]])
    assert first_examples((each for each in batches), None, 3) == (None, None)
    assert len(list(batches)) == 2


@pytest.mark.parametrize(
    ("validation", "first"),
    [
        ({}, 0),
        ({"validation_data": (X[50:90], 150 + np.arange(40))}, 50),
        ({"validation_split": 0.2}, 32),
    ],
    ids=["none", "data", "split"],
)
def test_within_fit_they_are_of_what_it_validates_on_or_else_trains_on(validation, first):
    vae = restarted()
    seen = Examples(5)
    vae.fit(X[:40], 100 + np.arange(40), batch_size=8, callbacks=[seen], verbose=0, **validation)
    [(x, y)] = seen.found
    np.testing.assert_array_equal(x, X[first : first + 5])
    np.testing.assert_array_equal(y, 100 + first + np.arange(5))
