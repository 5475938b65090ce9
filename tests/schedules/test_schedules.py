"""The schedules: their values against NumPy, in every kind of step, in a program and when they are wrong."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import digits, gaussian_vae

from keras_vae.objectives import ELBO
from keras_vae.objectives.values import PROBED_STEPS
from keras_vae.schedules import Cyclical, LinearWarmup
from keras_vae.schedules.progress import LAST_STEP

STEPS = [*range(60), *PROBED_STEPS]

# A schedule, and its value by NumPy.
CASES = {
    "warm-up": (LinearWarmup(10), lambda t: np.interp(t, [0, 10], [0.0, 1.0])),
    "delayed": (LinearWarmup(8, 0.5, 4.0, delay=20), lambda t: np.interp(t, [20, 28], [0.5, 4.0])),
    "falling": (LinearWarmup(7, 3.0, 0.25), lambda t: np.interp(t, [0, 7], [3.0, 0.25])),
    "cycles": (Cyclical(12), lambda t: 1.0 if t >= 48 else np.interp(t % 12, [0, 6], [0.0, 1.0])),
    "saw": (
        Cyclical(7, num_cycles=3, ratio=1.0, start=1.0, end=5.0),
        lambda t: 5.0 if t >= 21 else np.interp(t % 7, [0, 7], [1.0, 5.0]),
    ),
    "uneven": (Cyclical(10, 2, ratio=0.33), lambda t: 1.0 if t >= 20 else np.interp(t % 10, [0, 3.3], [0.0, 1.0])),
}


@pytest.mark.parametrize("name", CASES)
def test_values_are_numpy_s_at_every_kind_of_step(name):
    schedule, expected = CASES[name]
    for kind in (int, np.int64, lambda t: tf.constant(t, tf.int64), lambda t: keras.Variable(t, dtype="int64")):
        found = [float(schedule(kind(step))) for step in STEPS]
        np.testing.assert_allclose(found, [expected(step) for step in STEPS], rtol=1e-6, atol=1e-7)
    assert float(schedule(LAST_STEP)) == schedule.end and float(schedule(0)) == schedule.start


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_program_gives_what_eager_code_gives(name, jit_compile):
    schedule, _ = CASES[name]
    steps = tf.constant(STEPS, tf.int64)
    found = tf.function(schedule, jit_compile=jit_compile)(steps)
    np.testing.assert_allclose(found, [float(schedule(step)) for step in STEPS], rtol=1e-6)


def test_far_steps_are_told_apart():
    """float32 has no odd numbers beyond 2^24."""
    schedule, far = LinearWarmup(4, delay=2**28), 2**28
    np.testing.assert_allclose([float(schedule(far + step)) for step in range(5)], [0.0, 0.25, 0.5, 0.75, 1.0])
    schedule = Cyclical(4, num_cycles=2**28, ratio=1.0)
    np.testing.assert_allclose([float(schedule(far + step)) for step in range(5)], [0.0, 0.25, 0.5, 0.75, 0.0])


def test_the_longest_cycles_are_over_where_the_final_value_is():
    schedule = Cyclical(LAST_STEP, num_cycles=1, ratio=1.0, start=2.0, end=5.0)
    assert float(schedule(LAST_STEP)) == 5.0 > float(schedule(LAST_STEP // 2))


def test_in_float64_values_are_exact_to_its_rounding():
    keras.config.set_floatx("float64")
    try:
        assert float(LinearWarmup(3)(1)) == 1 / 3
        assert float(Cyclical(10, ratio=0.7)(1)) == pytest.approx(1 / 7, rel=1e-15)
    finally:
        keras.config.set_floatx("float32")
    assert LinearWarmup(3)(1).dtype == "float32"


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_comes_back_and_shows_what_it_is(name):
    schedule, _ = CASES[name]
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config, safe_mode=True)
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert repr(again) == repr(schedule) and eval(repr(schedule)).get_config() == schedule.get_config()
    assert config["registered_name"] == f"keras_vae>{type(schedule).__name__}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearWarmup(0), "LinearWarmup: expected `steps` to be an integer >= 1; received: 0"),
        (lambda: LinearWarmup(10.0), "LinearWarmup: expected `steps` to be an integer >= 1; received: 10.0"),
        (lambda: LinearWarmup(5, delay=-1), "LinearWarmup: expected `delay` to be an integer >= 0; received: -1"),
        (lambda: LinearWarmup(5, end=np.inf), "LinearWarmup: expected `end` to be a finite number; received: inf"),
        (lambda: LinearWarmup(5, "0"), "LinearWarmup: expected `start` to be a finite number; received: '0'"),
        (lambda: Cyclical(0), "Cyclical: expected `period` to be an integer >= 1; received: 0"),
        (lambda: Cyclical(5, num_cycles=None), "Cyclical: expected `num_cycles` to be an integer >= 1"),
        (lambda: Cyclical(5, ratio=0.0), r"Cyclical: expected `ratio` to be a number in \(0, 1\]; received: 0.0"),
        (lambda: Cyclical(5, ratio=1.5), r"Cyclical: expected `ratio` to be a number in \(0, 1\]; received: 1.5"),
        (lambda: Cyclical(5, start=np.nan), "Cyclical: expected `start` to be a finite number; received: nan"),
        (
            lambda: Cyclical(2**30, num_cycles=2),
            r"Cyclical: expected cycles that are over by step 2147483647, 2\^31",
        ),
        (lambda: ELBO(beta=LinearWarmup(5, end=-1.0)), "ELBO: expected `beta` .*, which gives -0.2 at step 1"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("jit_compile", [True, False])
def test_in_training_each_step_has_its_own_value_and_validation_the_last(jit_compile):
    """The loss of an epoch of one step is nll + beta kl: in blocks, and beside a learning rate of the same kind."""
    schedule = Cyclical(4, num_cycles=2, ratio=0.75, end=3.0)
    vae = gaussian_vae(units=8, objective=ELBO(beta=schedule))
    vae.compile(keras.optimizers.Adam(LinearWarmup(5, end=1e-3)), jit_compile=jit_compile)
    logs = vae.fit(digits()[:8], validation_data=digits()[8:16], epochs=10, verbose=0).history
    weight = (np.array(logs["loss"]) - logs["nll"]) / logs["kl"]
    np.testing.assert_allclose(weight, [0, 1, 2, 3, 0, 1, 2, 3, 3, 3], atol=1e-4)
    weight = (np.array(logs["val_loss"]) - logs["val_nll"]) / logs["val_kl"]
    np.testing.assert_allclose(weight, 3.0, rtol=1e-4)


def test_a_warm_up_that_would_not_be_over_is_refused():
    with pytest.raises(ValueError, match=r"LinearWarmup: expected a warm-up that is over by step 2147483647, .* \+ "):
        LinearWarmup(2**31 - 1, delay=1)
    assert float(LinearWarmup(2**31 - 2, delay=1)(2**31 - 1)) == 1.0
