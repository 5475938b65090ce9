"""Where the images come from: a folder, or what Keras downloads. Workers get them as two files each."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np


class Missing(Exception):
    """There is no such data here; the message says what would bring it."""


def prepare(workload, effort, data_dir, folder):
    """Writes `train.npy` and `test.npy`, float32 `[N, *event]` in 0..1, to the folder.

    Returns the effort with the numbers of images that there are, which may be fewer.

    Raises:
        Missing: the data set is not to be had.
    """
    train, test = _images(workload, effort, data_dir)
    train, test = train[: effort.train_images], test[: effort.test_images]
    for name, images in {"train": train, "test": test}.items():
        scaled = images.astype("float32") / np.float32(255)
        np.save(folder / f"{name}.npy", scaled.reshape(-1, *workload.event_shape))
    scored = min(effort.scored_images, len(test))
    return dataclasses.replace(effort, train_images=len(train), test_images=len(test), scored_images=scored)


def load(folder):
    """What `prepare` wrote: train and test images."""
    return np.load(folder / "train.npy"), np.load(folder / "test.npy")


def _images(workload, effort, data_dir):
    if workload.data == "uniform":
        draws = np.random.default_rng(0).integers(
            0, 256, (effort.train_images + effort.test_images, workload.event_size), dtype="uint8"
        )
        return np.split(draws, [effort.train_images])
    if workload.data == "freyfaces":
        if data_dir is None or not (data_dir / "freyfaces.npz").exists():
            raise Missing(
                "needs the Frey Face video frames: a file freyfaces.npz with an array x, uint8 [1965, 28, 20], in the "
                "folder that --data-dir names"
            )
        with np.load(data_dir / "freyfaces.npz") as file:
            frames = np.random.default_rng(0).permutation(file["x"])
        return np.split(frames, [len(frames) - effort.test_images])
    path = _downloaded_mnist() if data_dir is None else data_dir / "mnist.npz"
    if not path.exists():
        raise Missing(
            f"needs MNIST, and there is no {path}: a file mnist.npz with the arrays x_train and x_test, in the folder "
            "that --data-dir names. Without --data-dir Keras downloads it, where there is a network"
        )
    with np.load(path) as file:
        # Shuffled, so that a part of it is a fair part.
        return np.random.default_rng(0).permutation(file["x_train"]), file["x_test"]


def _downloaded_mnist():
    """The file that Keras keeps MNIST in. Fetched by a process of its own: this one stays small."""
    path = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras")) / "datasets" / "mnist.npz"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-c", "import keras; keras.datasets.mnist.load_data()"], capture_output=True, check=False
        )
    return path
