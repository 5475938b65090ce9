"""Training with a backup, in a process that may be killed and begun again.

python tests/processes/resumed.py FOLDER EPOCHS [DOOMED]

Goes on from the backup in FOLDER, if there is one; says what it does, line by line, in the file `log` there, and leaves
what it got as `out.keras`. In the DOOMED epoch it waits to be killed, and does not finish it.
"""

import json
import pathlib
import sys
import time

import keras
import numpy as np
from keras import layers

import keras_vae

random = np.random.default_rng(0)
X, VALIDATION = (random.uniform(size=(rows, 4, 4, 1)).astype("float32") for rows in (37, 13))  # in batches of 8
WEIGHTS = random.uniform(0.0, 3.0, size=37).astype("float32")
LAST = 4  # the number of an epoch's last batch, of 5 rows
LIMIT = 240  # seconds, for whatever is waited for


def vae_with_states(jit_compile=False, **kwargs):
    """A VAE with every kind of state that Keras knows: moments, averages, schedules, and noise in two places."""
    keras.utils.set_random_seed(0)
    schedules = keras.optimizers.schedules
    encoder = keras.Sequential(
        [layers.Flatten(), layers.Dense(8, "tanh"), layers.Dropout(0.3), keras_vae.layers.IndependentNormal(2)]
    )
    scale = keras_vae.scales.Optimal(axis=-1, momentum=0.5)
    decoder = keras.Sequential([layers.Dense(8, "tanh"), keras_vae.layers.IndependentNormal((4, 4, 1), scale=scale)])
    objective = keras_vae.objectives.ELBO(beta=schedules.PolynomialDecay(0.0, 40, end_learning_rate=1.0))
    vae = keras_vae.VAE(encoder, decoder, objective=objective, **kwargs)
    vae.compile(keras.optimizers.Adam(schedules.ExponentialDecay(1e-2, 7, 0.9)), jit_compile=jit_compile)
    return vae


def train(vae, epochs, callbacks=(), **kwargs):
    """The history of shuffled, weighted epochs, each validated."""
    options = {"sample_weight": WEIGHTS, "batch_size": 8, "validation_data": VALIDATION, "verbose": 0, **kwargs}
    return vae.fit(X, epochs=epochs, callbacks=list(callbacks), **options).history


def state_of(vae):
    """Everything that training changes, as lists: weights, averages and seeds; and what the optimizer holds."""
    anew = [generator.state for generator in (vae.evaluation_seeds, vae.prediction_seeds)]
    variables = [variable for variable in vae.variables if all(variable is not each for each in anew)]
    variables += vae.optimizer.variables if vae.compiled else []
    return [np.asarray(variable).tolist() for variable in variables]


class Log(keras.callbacks.Callback):
    """Writes a line when an epoch begins, a batch begins or an epoch ends; tarries in the doomed epoch."""

    def __init__(self, path, doomed=None):
        super().__init__()
        self.path, self.doomed, self.epoch = pathlib.Path(path), doomed, None

    def write(self, **line):
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.write(begun=epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self.write(epoch=self.epoch, batch=batch)
        if self.epoch == self.doomed:
            time.sleep(LIMIT if batch == LAST else 0.02)

    def on_epoch_end(self, epoch, logs=None):
        self.write(finished=epoch, logs=logs)


def main(folder, epochs, doomed=-1):
    folder = pathlib.Path(folder)
    vae = vae_with_states()
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    train(vae, int(epochs), callbacks=[backup, Log(folder / "log", int(doomed))], validation_data=None)
    vae.save(folder / "out.keras")


if __name__ == "__main__":
    main(*sys.argv[1:])
