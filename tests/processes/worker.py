"""A process of a cluster, or one alone without a TF_CONFIG: trains on digits, and writes what it got to a JSON file.

TF_CONFIG=... python tests/processes/worker.py OUT [EPOCHS] [BACKUP]
"""

import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from small import digits, gaussian_vae

X = digits()[:53]  # batches of 16, 16, 16 and 5


class Backup(keras.callbacks.BackupAndRestore):
    """Read by every worker, written by the first."""

    def __init__(self, folder, is_first):
        super().__init__(folder, delete_checkpoint=False)
        self.is_first = is_first

    def on_epoch_end(self, epoch, logs=None):
        if self.is_first:
            super().on_epoch_end(epoch, logs)


def main(out, epochs="2", backup=None):
    cluster = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))
    index = cluster["task"]["index"]
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if "cluster" in cluster else tf.distribute.get_strategy()
    with strategy.scope():
        vae = gaussian_vae(seed=index if backup is None else 0)  # what the first one has counts
        vae.compile(keras.optimizers.Adam(1e-2))
    callbacks = []
    if backup:
        vae.build((None, 8, 8, 1))
        callbacks = [Backup(backup, index == 0)]
    history = vae.fit(X, batch_size=16, epochs=int(epochs), validation_data=X[:21], verbose=0, callbacks=callbacks)
    found = {"history": history.history, "epochs": history.epoch}
    found["weights"] = [np.asarray(weight).tolist() for weight in vae.trainable_variables]
    found["evaluate"] = vae.evaluate(X, batch_size=16, verbose=0, return_dict=True)
    found["predict"] = vae.predict(X, batch_size=16, verbose=0)["nll"].tolist()
    found["log_likelihood"] = vae.log_likelihood(X[:5], num_samples=50, seed=0, verbose=0).tolist()
    found["generate"] = np.asarray(vae.generate(2, seed=0)).tolist()
    pathlib.Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
