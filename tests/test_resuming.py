"""Training that goes on: from a file in a new process, from a backup after a kill, from the best epoch."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from resumed import LAST, LIMIT, VALIDATION, WEIGHTS, Log, X, state_of, train, vae_with_states
from small import digits, gaussian_vae

import keras_vae

SCRIPT = pathlib.Path(__file__).with_name("processes") / "resumed.py"
# From a file, with what it takes to do so and nothing else.
REST = """
import sys, keras, keras_vae, numpy
folder, epochs = sys.argv[1], int(sys.argv[2])
vae = keras.saving.load_model(folder + "/05.keras")
data = dict(numpy.load(folder + "/data.npz"))
validation = data.pop("validation")
history = vae.fit(
    **data, batch_size=8, validation_data=validation, initial_epoch=epochs // 2, epochs=epochs, verbose=0
)
vae.save(folder + "/rest.keras")
print(history.history)
"""


# From a file.


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ten_epochs_are_five_and_five_more_in_a_new_process(jit_compile, tmp_path):
    """To the last bit: orders, dropout, noise, schedules, moments and averages go on. Of the seeds, none is given."""
    whole = vae_with_states(jit_compile)
    history = train(whole, 10, callbacks=[keras.callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}.keras")])
    np.savez(tmp_path / "data.npz", x=X, sample_weight=WEIGHTS, validation=VALIDATION)
    done = subprocess.run([sys.executable, "-c", REST, tmp_path, "10"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.strip() == str({name: curve[5:] for name, curve in history.items()})
    assert state_of(keras.saving.load_model(tmp_path / "rest.keras")) == state_of(whole)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, "batch", False])
def test_epochs_after_a_reload_are_those_that_were_to_come(shuffle, tmp_path):
    """And so are those of a second `fit` of the same model."""
    whole = vae_with_states()
    expected = train(whole, 4, shuffle=shuffle)
    half = vae_with_states()
    train(half, 2, shuffle=shuffle)
    half.save(tmp_path / "half.keras")
    for vae in (half, keras.saving.load_model(tmp_path / "half.keras")):
        history = train(vae, 4, initial_epoch=2, shuffle=shuffle)
        assert history == {name: curve[2:] for name, curve in expected.items()}
        assert state_of(vae) == state_of(whole)


# From a backup.


@contextlib.contextmanager
def process(folder, *args):
    """The script in a new process, killed on the way out if it is not done; and the file of what it prints."""
    printed = folder / "printed"
    command = [sys.executable, SCRIPT, folder, *map(str, args)]
    with printed.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as running:
        try:
            yield running, printed
        finally:
            running.kill()


def kill(folder, epochs, doomed, batch):
    """Trains in a new process, which is killed in the epoch `doomed`: at this batch or, by chance, a later one."""
    log, marker = folder / "log", json.dumps({"epoch": doomed, "batch": batch})
    before = log.read_text().count(marker) if log.exists() else 0
    end = time.monotonic() + LIMIT
    with process(folder, epochs, doomed) as (running, printed):
        while not (log.exists() and log.read_text().count(marker) > before):
            assert running.poll() is None, printed.read_text()[-4000:]
            assert time.monotonic() < end, f"waited {LIMIT} seconds in vain"
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        assert running.wait(LIMIT) == -signal.SIGKILL


def lines(log, kind):
    """What a log says of this kind."""
    return [line for line in map(json.loads, log.read_text().splitlines()) if kind in line]


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_and_resumed_loses_and_repeats_no_epoch(kills, tmp_path):
    """Each is finished once, with the losses and, at the end, the state of a run that nothing interrupted."""
    epochs, random = 6, np.random.default_rng(kills)
    doomed = [int(each) for each in np.sort(random.integers(1 if kills == 1 else 0, epochs, size=kills))]
    folder = tmp_path / "cut"
    folder.mkdir()
    for each in doomed:
        kill(folder, epochs, each, batch=int(random.integers(0, LAST + 1)))
    with process(folder, epochs) as (running, printed):
        assert running.wait(LIMIT) == 0, printed.read_text()[-4000:]

    whole = vae_with_states()
    train(whole, epochs, callbacks=[Log(tmp_path / "log")], validation_data=None)
    assert lines(folder / "log", "finished") == lines(tmp_path / "log", "finished")
    assert [line["begun"] for line in lines(folder / "log", "begun")] == sorted([*range(epochs), *doomed])
    assert state_of(keras.saving.load_model(folder / "out.keras")) == state_of(whole)
    assert not (folder / "backup").exists()


# From the best epoch.


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run whose learning rate is far too high from its fourth epoch on, and stops there; its files."""
    folder = tmp_path_factory.mktemp("best")
    monitor = {"monitor": "val_elbo", "mode": "max"}
    vae, weights = vae_with_states(), []
    vae.compile(keras.optimizers.Adam(), jit_compile=False)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-2 if epoch < 3 else 1.0),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(vae.get_weights())),
        keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True, **monitor),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True, **monitor),
    ]
    history = train(vae, 20, callbacks=callbacks)
    return vae, history, weights, folder


def test_early_stopping_puts_the_best_weights_back(stopped):
    vae, history, weights, _ = stopped
    assert np.argmax(history["val_elbo"]) == 2 and len(weights) == 5
    for found, expected in zip(vae.get_weights(), weights[2], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not all(np.array_equal(*each) for each in zip(weights[2], weights[4], strict=True))


def test_the_best_file_scores_as_it_did_when_it_was_written(stopped):
    """In every metric and to the last bit, for it draws the noise that was drawn then."""
    _, history, weights, folder = stopped
    best = keras.saving.load_model(folder / "best.keras")
    for found, expected in zip(best.get_weights(), weights[2], strict=True):
        np.testing.assert_array_equal(found, expected)
    scores = best.evaluate(VALIDATION, batch_size=8, verbose=0, return_dict=True)
    assert scores == {name: history[f"val_{name}"][2] for name in scores}


def test_weights_of_each_epoch_are_loaded_with_all_state(stopped):
    _, _, weights, folder = stopped
    vae = keras.saving.load_model(folder / "best.keras")
    for epoch, expected in enumerate(weights):
        vae.load_weights(folder / f"{epoch + 1}.weights.h5")
        for one, other in zip(vae.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert vae.optimizer.iterations == 5 * (epoch + 1)
        assert vae.seed_generator.state[1] == 5 * (epoch + 1)


@pytest.mark.parametrize(
    ("compiled", "fit"),
    [
        ({"gradient_accumulation_steps": 4}, {}),
        pytest.param({}, {"steps_per_epoch": 3}, marks=pytest.mark.slow),
    ],
    ids=["accumulated", "parts of an order"],
)
def test_orders_go_on_whatever_an_epoch_and_a_step_are(compiled, fit, tmp_path):
    """Of five batches, the last one short: four epochs are two, a file, and two more."""

    def begun():
        vae = gaussian_vae()
        vae.build((None, 8, 8, 1))
        vae.compile(keras.optimizers.Adam(1e-2, **compiled), jit_compile=False)
        return vae

    options = {"batch_size": 8, "verbose": 0, **fit}
    whole, half = begun(), begun()
    whole.fit(digits()[:37], epochs=4, **options)
    half.fit(digits()[:37], epochs=2, **options)
    half.save(tmp_path / "half.keras")
    half = keras.saving.load_model(tmp_path / "half.keras")
    half.fit(digits()[:37], initial_epoch=2, epochs=4, **options)
    for one, other in zip(whole.weights, half.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_another_seed_leave_a_model_its_own(tmp_path):
    one, other, like = gaussian_vae(seed=1), gaussian_vae(seed=2), gaussian_vae()
    unseeded = keras_vae.VAE(like.encoder, like.decoder)
    for vae in (one, other, unseeded):
        vae.build((None, 8, 8, 1))
    one.predict(digits()[:4], verbose=0)
    one.save_weights(tmp_path / "one.weights.h5")
    for vae in (other, unseeded):
        vae.load_weights(tmp_path / "one.weights.h5")
    assert np.asarray(other.seed_generator.state).tolist() == [2, 0]
    assert np.asarray(unseeded.seed_generator.state).tolist() == np.asarray(one.seed_generator.state).tolist()
