"""A beta that is learned: algorithm 1 of its paper by NumPy, where it leads, and what must not move it."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from checks import dtype_policy
from resumed import state_of
from saved import reload
from small import bernoulli_vae, digits, gaussian_vae

from keras_vae.objectives import GECO
from keras_vae.schedules import LinearWarmup

X = digits()[:48]
FIT = {"batch_size": 16, "shuffle": False, "verbose": 0}


def made(*args, build=gaussian_vae, optimizer=None, jit_compile=False, **kwargs):
    vae = build(units=8, objective=GECO(*args, **kwargs))
    vae.compile(optimizer or keras.optimizers.SGD(1e-5), jit_compile=jit_compile)
    vae.build(X.shape)
    return vae


def algorithm_1(nlls, levels, speed, momentum, beta=1.0, bounds=(1e-6, 1e6)):
    """Beta after each batch, from the batches' mean nll."""
    average = weight = 0.0
    betas = []
    for nll, level in zip(nlls, levels, strict=True):
        average = momentum * average + (1 - momentum) * nll
        weight = momentum * weight + (1 - momentum)
        beta = float(np.clip(beta * math.exp(speed * (level - average / weight)), *bounds))
        betas.append(beta)
    return betas


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_beta_is_algorithm_1_s_by_numpy(options, weighted):
    """In epochs of one batch; and each is weighed by the beta that it has led to: loss = nll + beta kl."""
    level = LinearWarmup(4, 90.0, 50.0)
    vae = made(level, 0.01, momentum=0.8)
    vae.compile(keras.optimizers.SGD(1e-4), **options)
    weights = np.linspace(0.0, 3.0, 16) if weighted else np.ones(16)
    logs = vae.fit(X[:16], sample_weight=weights if weighted else None, epochs=8, **FIT).history
    expected = algorithm_1(logs["nll"], [float(level(step)) for step in range(8)], 0.01, 0.8)
    np.testing.assert_allclose(logs["beta"], expected, rtol=1e-5)
    loss = np.mean(weights) * (np.array(logs["nll"]) + np.array(logs["beta"]) * logs["kl"])
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(np.array(logs["elbo"]), -np.array(logs["nll"]) - logs["kl"], rtol=1e-5)


@pytest.mark.parametrize(("level", "bound"), [(-1e4, 0.5), (1e4, 3.0)])
def test_beta_stays_within_its_bounds(level, bound):
    logs = made(level, 1.0, bounds=(0.5, 3.0)).fit(X, epochs=2, **FIT).history
    np.testing.assert_allclose(logs["beta"], bound, rtol=1e-6)


@pytest.mark.parametrize("level", [20.5, 25.0])
def test_training_settles_at_the_level(level):
    """Of digits, whose ELBO has an nll of 22.6: within 0.5 nats of a harder and of an easier level, in the mean of the
    last 10 epochs; with a beta on its own side of 1, and a KL on its own side of the ELBO's 2.5."""
    vae = bernoulli_vae(latent=8, units=32, objective=GECO(level, speed=5e-3, momentum=0.9))
    vae.compile(keras.optimizers.Adam(3e-3), jit_compile=True)
    logs = vae.fit(digits(), batch_size=100, epochs=100, verbose=0).history
    nll, kl, beta = (np.mean(logs[name][-10:]) for name in ("nll", "kl", "beta"))
    assert abs(nll - level) < 0.5
    assert (beta < 0.95 and kl > 2.7) if level < 22.0 else (beta > 1.5 and kl < 2.0)


def state_of_objective(vae):
    return [np.asarray(each).tolist() for each in vae.objective.weights]


def test_evaluation_and_what_watches_move_nothing():
    vae = made(40.0, 0.01)
    vae.fit(X, epochs=1, **FIT)
    before = state_of_objective(vae)
    scores = vae.evaluate(X, verbose=0, return_dict=True)
    vae.predict(X, verbose=0), vae(X), vae(X, training=False), vae.log_likelihood(X)
    vae.objective(vae.forward_pass(X, np.array([0, 1], "int32"), training=True))  # and no step
    vae.loss_of((X, None, None)), vae.summary(print_fn=lambda line, **_: None)
    assert state_of_objective(vae) == before and before[2] > 0.0
    assert scores["beta"] == pytest.approx(float(vae.objective.beta))
    assert (scores["loss"] - scores["nll"]) / scores["kl"] == pytest.approx(scores["beta"], rel=1e-4)


def test_it_learns_nothing_before_the_first_step():
    """Building passes x through the model symbolically, as training does."""
    vae = made(40.0, initial=2.0)
    np.testing.assert_allclose(state_of_objective(vae), [math.log(2.0), 0.0, 0.0], rtol=1e-6)
    assert GECO(40.0, initial=2.0).beta == 2.0 and float(vae.objective.beta) == pytest.approx(2.0)


def test_a_batch_that_is_not_finite_or_has_no_weight_moves_nothing():
    vae = made(40.0, 0.01)
    vae.fit(X, epochs=1, **FIT)
    before = state_of_objective(vae)
    vae.fit(X, sample_weight=np.zeros(48), epochs=1, **FIT)
    assert state_of_objective(vae) == before
    kernel = vae.decoder.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, np.nan))
    vae.fit(X, epochs=1, **FIT)
    assert state_of_objective(vae) == before and not np.isfinite(vae.evaluate(X, verbose=0)[0])


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_in_another_precision_its_state_is_that_of_the_terms(policy):
    with dtype_policy(policy):
        vae = gaussian_vae(units=8, objective=GECO(50.0, 0.01))
    vae.compile(keras.optimizers.SGD(1e-5), jit_compile=False)
    logs = vae.fit(X[:16], epochs=3, **FIT).history
    assert {each.dtype for each in vae.objective.weights} == {"float64" if policy == "float64" else "float32"}
    expected = algorithm_1(logs["nll"], [50.0] * 3, np.float32(0.01), 0.99)
    np.testing.assert_allclose(logs["beta"], expected, rtol=1e-5)


# Files.


def test_training_goes_on_from_a_file_and_from_weights(tmp_path):
    """To the last bit: in the middle of beta's way, and of a schedule's."""
    level = LinearWarmup(12, 80.0, 40.0)

    def begun():
        vae = made(level, LinearWarmup(20, 0.0, 0.02), momentum=0.9, optimizer=keras.optimizers.Adam(1e-2))
        vae.optimizer.build(vae.trainable_variables)  # so that weights bring its count of steps
        return vae

    whole = begun()
    history = whole.fit(X, epochs=4, **FIT).history
    half = begun()
    half.fit(X, epochs=2, **FIT)
    loaded = reload(half, tmp_path)
    half.save_weights(tmp_path / "half.weights.h5")
    weights = begun()
    weights.load_weights(tmp_path / "half.weights.h5")
    for vae in (half, loaded, weights):
        rest = vae.fit(X, initial_epoch=2, epochs=4, **FIT).history
        assert rest == {name: curve[2:] for name, curve in history.items()}
        assert state_of(vae) == state_of(whole)
    assert np.std(history["beta"]) > 0.01


def test_an_exported_score_is_that_of_the_model(tmp_path):
    vae = made(40.0, 0.01)
    vae.fit(X, epochs=1, **FIT)
    vae.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").signatures["score"]
    before = state_of_objective(vae)
    found = served(x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    np.testing.assert_allclose(found["elbo"], -(found["nll"] + found["kl"]), rtol=1e-5)
    assert {"elbo", "nll", "kl", "log_likelihood"} <= set(found) and state_of_objective(vae) == before


# Wrong arguments.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GECO(np.nan),
            "GECO: expected `level` to be a finite number, a float keras.Variable of one, .*received: nan",
        ),
        (lambda: GECO("20"), "GECO: expected `level` to be a finite number, a float keras.Variable"),
        (lambda: GECO(20.0, -1.0), "GECO: expected `speed` to be a finite number >= 0, .*received: -1.0"),
        (
            lambda: GECO(LinearWarmup(5, -1.0, -3.0), LinearWarmup(5, 1.0, -1.0)),
            "`speed` to be a .*gives -0.6 at step 4",
        ),
        (lambda: GECO(20.0, bounds=(1.0, 1.0)), r"GECO: expected `bounds` to be two numbers, the smaller one first"),
        (lambda: GECO(20.0, bounds=0.1), "GECO: expected `bounds` to be two numbers; received: 0.1"),
        (
            lambda: GECO(20.0, bounds=(0.0, 1.0)),
            "GECO: expected `bounds` to be a positive, finite number; received: 0.0",
        ),
        (lambda: GECO(20.0, initial=0), "GECO: expected `initial` to be a positive, finite number; received: 0"),
        (
            lambda: GECO(20.0, initial=2.0, bounds=(0.1, 1.0)),
            r"GECO: expected `initial` to be within `bounds`, \(0.1, 1",
        ),
        (lambda: GECO(20.0, momentum=1.0), r"GECO: expected `momentum` to be a number in \[0, 1\); received: 1.0"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_level_may_be_negative_or_a_schedule_of_negative_numbers():
    assert GECO(-12.5).level == -12.5
    assert repr(GECO(LinearWarmup(5, 1.0, -3.0))).startswith(
        "GECO(num_samples=1, level=LinearWarmup(steps=5, start=1.0,"
    )


def test_a_level_that_is_set_acts_at_the_next_step():
    vae = made(60.0, 0.01)
    vae.fit(X[:16], epochs=1, **FIT)
    before = np.log(float(vae.objective.beta))
    vae.objective.level = 1060.0
    vae.fit(X[:16], epochs=1, **FIT)
    assert np.log(float(vae.objective.beta)) - before == pytest.approx(10.0, abs=0.2)
    with pytest.raises(AttributeError):
        vae.objective.beta = 1.0
