"""What files hold of a model: configuration, random state and version; whether a file is whole; and exports."""

import functools
import json
import os
import zipfile
import zlib

import h5py
import keras

from keras_vae import compat
from keras_vae.export import export
from keras_vae.objectives.configuration import check_savable
from keras_vae.version import __version__, check_not_newer

SAVED_PARTS = ("encoder", "decoder", "prior", "objective")
MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}  # of a `.keras` file


class Persistent(keras.Model):
    """A model whose parts are saved with it: see `SAVED_PARTS`.

    A subclass has an attribute for each, and `engine`, `known`, `target` and `seed`.
    """

    def get_config(self):
        check_savable(self.objective)
        serialize = keras.saving.serialize_keras_object
        # Twice: Keras marks an object that has two places at its second sight, and loses the mark of its first.
        for _ in range(2):
            parts = {part: serialize(getattr(self, part)) for part in SAVED_PARTS}
        return {**super().get_config(), "version": __version__, **parts, "target": self.target, "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        check_not_newer(config.get("name"), config.pop("version", None))
        deserialize = functools.partial(keras.saving.deserialize_keras_object, custom_objects=custom_objects)
        return cls(**{**config, **{part: deserialize(config[part]) for part in SAVED_PARTS}})

    def get_build_config(self):
        # Keras's is of shapes alone. And of layers that a loss of one's own has built it knows nothing.
        config = super().get_build_config()
        late = {index: layer for index, layer in enumerate(self.layers) if index in self.known.late and layer.built}
        late = {str(index): layer.get_build_config() for index, layer in late.items()}
        found = {"late": late, "is_adapted": self.known.is_adapted}
        return config and {**config, "dtypes": self.known.x_dtypes, **{k: v for k, v in found.items() if v}}

    def build_from_config(self, config):
        config = dict(config or {})
        self.known.x_dtypes, late = config.pop("dtypes", None), config.pop("late", {})
        is_adapted = config.pop("is_adapted", False)
        super().build_from_config(config)
        self.known.is_adapted = is_adapted
        for index, build in late.items():
            with self.distribute_strategy.scope():
                self.layers[int(index)].build_from_config(build)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        self.engine.save(store)

    def load_own_variables(self, store):
        super().load_own_variables(self.engine.load(store))
        if any(isinstance(layer, keras.layers.Normalization) for layer in compat.layers_of(self)):
            self.forget_steps()  # in a program its mean is a constant

    def save(self, filepath, *args, **kwargs):
        """Saves the model, as `keras.Model.save`, to a `.keras` file.

        Raises:
            ValueError: the name is that of an HDF5 file, from which no model of parts can be read back; or an
                objective of the user's own would not come back as it is.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"save: expected the name of a .keras file; received {os.fspath(filepath)!r}. An HDF5 file holds no "
                "model of parts. For weights alone there is save_weights, to a file whose name ends in .weights.h5."
            )
        self.get_config()  # an error of it comes before Keras opens the file, which may be an earlier one
        return super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """Loads weights, as `keras.Model.load_weights`, from a file that is looked at first.

        Raises:
            ValueError: there is no such file, or a `.keras` or `.h5` file is not whole.
        """
        if is_local_file(filepath):
            check = {".keras": check_file, ".h5": check_h5_file}.get(os.path.splitext(filepath)[1])
            if check is not None:
                check(filepath)
        return super().load_weights(filepath, *args, **kwargs)

    def export(self, filepath: str | os.PathLike, format: str = "tf_saved_model", verbose: bool | None = None) -> None:
        """Writes the model for processes that have no keras_vae: named functions of tensors to dictionaries of them.

        - `reconstruct(x)`, also the default: `reconstruction`, the mean of p(x|z) at the posterior's mean.
        - `encode(x, seed)`: `mean` and `stddev` of q(z|x), `[B, D]`, and a `sample`. For a posterior whose mean has no
          closed form, a flow say, `mean` is the centre: see `keras_vae.layers.Mean`. Where the standard deviation has
          none, there is no `stddev`.
        - `decode(z)`: `mean` of p(x|z), and its `stddev` where the family has one.
        - `generate(num, seed)`: `num` times a `sample` of p(x|z) at a draw of z from the prior, and its `mean`.
        - `score(x, num_samples, seed)`: `elbo`, `nll`, `kl`, each part's `nll_age`, the objective's own terms, and
          `log_likelihood` by importance sampling; `[B]`, nats. Where elements are independent, `log_prob_of_elements`,
          `[B, *event]`, too.

        The batch size is free, and all draws are a function of `seed`, an int64, and of the batch. Numbers are float32
        (float64 under a float64 policy). Where x has parts, each is an input by its name: a dictionary's key, or the
        `keras.Input`'s. Under a `Joint`, outputs are one a part: `mean_age`. Under an `IndependentCategorical` the
        likeliest category is the `reconstruction`, and `mode` takes the place of `mean` and `stddev`. Beside it are the
        `probabilities`, `[B, *event, levels]`.

        Args:
            filepath: a folder that is new, empty, or an earlier export, which is replaced; for "litert", a file whose
                name ends in .tflite. It is written beside, and then renamed: an error leaves nothing half-written.
            format: "tf_saved_model", for `tf.saved_model.load` and TensorFlow Serving; "litert", one file, or "onnx", a
                folder with a file each, both of `reconstruct`, `encode` without its sample and `decode`.
            verbose: False to print nothing.

        Raises:
            ValueError: the model has not seen data; the path, the format or a name of x's parts cannot be used.
        """
        export(self, filepath, format, verbose)


def load_model(
    filepath: str | os.PathLike, custom_objects: dict | None = None, compile: bool = True, safe_mode: bool = True
) -> keras.Model:
    """Loads a model that was saved as a `.keras` file: `keras.saving.load_model`, from a file that is looked at first.

        vae.save("vae.keras")
        same = keras_vae.load_model("vae.keras")

    Args:
        filepath, custom_objects, compile, safe_mode: as of `keras.saving.load_model`.

    Raises:
        ValueError: there is no such file; it is no `.keras` file, was cut off, or a part of it is damaged; or it was
            saved by a newer version of this library.
    """
    if is_local_file(filepath):
        if str(filepath).endswith(".weights.h5"):
            raise ValueError(
                f"load_model: expected a .keras file, a whole model; received {os.fspath(filepath)!r}, a file of "
                "weights. Make the model as it was, show it an x or build it, and use vae.load_weights(...)."
            )
        check_file(filepath)
    return keras.saving.load_model(filepath, custom_objects=custom_objects, compile=compile, safe_mode=safe_mode)


def is_local_file(filepath):
    """Whether a path is to be a file on this machine: neither remote, nor a folder that Keras unpacked a model to."""
    return "://" not in str(filepath) and not os.path.isfile(os.path.join(os.fspath(filepath), "config.json"))


def check_file(filepath):
    """Raises ValueError unless there is a whole `.keras` file at this path."""
    path = os.fspath(filepath)
    check_not_empty(path, "a .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = MEMBERS - set(archive.namelist())
            damaged = archive.testzip()
            if not missing and not damaged and not is_json(archive.read("config.json")):
                damaged = "config.json"
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        with open(path, "rb") as file:
            is_zip = file.read(2) == b"PK"
        reason = f"one that is cut off or damaged ({error})" if is_zip else "a file of another kind"
        raise ValueError(f"Expected a whole .keras file at {path!r}; found {reason}. Use an earlier copy.") from None
    if missing:
        raise ValueError(
            f"Expected a .keras file at {path!r}; found a zip file without {sorted(missing)[0]!r}. Save the model with "
            'vae.save("vae.keras").'
        )
    if damaged:
        raise ValueError(
            f"Expected a whole .keras file at {path!r}; found one whose part {damaged!r} is damaged. Use an earlier "
            "copy."
        )


def check_h5_file(filepath):
    """Raises ValueError unless there is a whole HDF5 file at this path."""
    path = os.fspath(filepath)
    check_not_empty(path, "a file of weights")
    try:
        h5py.File(path).close()
    except OSError as error:
        raise ValueError(
            f"Expected a whole file of weights at {path!r}; found one that is cut off, damaged or of another kind "
            f"({error}). Use an earlier copy."
        ) from None


def check_not_empty(path, expected):
    """Raises ValueError unless there is a file at this path with something in it."""
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "nothing"
        raise ValueError(f"Expected {expected} at {path!r}; found {found}.")
    if os.path.getsize(path) == 0:
        raise ValueError(f"Expected {expected} at {path!r}; found an empty file. Was the disk full when it was saved?")


def is_json(content):
    """Whether bytes are JSON."""
    try:
        json.loads(content)
    except ValueError:
        return False
    return True
