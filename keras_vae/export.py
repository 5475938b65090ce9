"""Writes a model for processes that have no keras_vae: a SavedModel with named signatures, LiteRT and ONNX files."""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

from keras_vae import backend, compat
from keras_vae.layers.likelihood_layer import likelihood_layers
from keras_vae.signatures import signatures

# What runtimes without random numbers are given, and from which function.
WITHOUT_DRAWS = {"reconstruct": "reconstruct", "encode": "encode_mean", "decode": "decode"}


def export(vae, filepath, format="tf_saved_model", verbose=None):
    """Writes a built VAE where no Python of ours is needed: see `VAE.export`."""
    if not isinstance(format, str) or format not in WRITERS:
        raise ValueError(f"export: expected `format` to be one of {sorted(WRITERS)}; received: {format!r}")
    if not vae.built or vae.x_spec is None:
        raise ValueError("export: expected a built model; received one that has not seen data. Call `fit` first.")
    vae.objective.prepare(None)
    if "://" in str(filepath):
        raise ValueError(f"export: expected `filepath` to be a local path, to copy from there; received: {filepath!r}")
    path = pathlib.Path(os.path.realpath(filepath))  # of a link, where it leads
    write, package, holds = WRITERS[format]
    if package and not importlib.util.find_spec(package):
        raise ValueError(f'export: format={format!r} needs {package}. To install it: pip install "keras_vae[{format}]"')
    check_free(path, holds)
    halves = [layer.name for layer in compat.layers_of(vae) if "16" in layer.compute_dtype]
    if halves and format != "tf_saved_model":
        raise ValueError(
            f"export: expected a model that computes in float32, for format={format!r}; received layers in half "
            f"precision, {halves[0]!r} the first. Make it under the policy float32, and load the weights."
        )
    with written_beside(path) as unfinished, backend.exporting():
        names = write(vae, unfinished)
        check_free(path, holds)  # it took a while
    if verbose is None or verbose:
        print(f"Exported to {filepath}: {', '.join(names)}")


def write_saved_model(vae, path):
    """All signatures that draw and all that do not; returns their names."""
    archive = keras.export.ExportArchive()
    for part in (vae.encoder, vae.decoder, vae.prior, vae.objective):
        archive.track(part)
    served = signatures(vae)
    del served["encode_mean"]  # which `encode` is, too
    for name, (function, inputs) in served.items():  # the first becomes the default
        # Keras traces what it is given several times over: a program it finds traced.
        archive.add_endpoint(name, backend.program(checked(function, inputs)), [spec_of(each) for each in inputs])
    # Gradients have left with Python.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with quiet():
        archive.write_out(str(path), options=options, verbose=False)
    return list(served)


def write_litert(vae, path):
    """One file with the signatures that draw nothing; returns their names."""
    module = tf.Module()
    functions = {name: traced.get_concrete_function() for name, (traced, _) in without_draws(vae).items()}
    module.parts = [weight.value for part in (vae.encoder, vae.decoder, vae.prior) for weight in part.weights]
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(module, folder, signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))
        try:
            path.write_bytes(converter.convert())
        except Exception as error:  # a converter's own, of no public class
            raise no_form_of(vae, "litert", error) from error
    return list(functions)


def write_onnx(vae, path):
    """A folder with a file for each of the signatures that draw nothing; returns their names."""
    compat.patch_tf2onnx()
    import onnx
    import tf2onnx

    path.mkdir()
    for name, (traced, specs) in without_draws(vae).items():
        with quiet():
            model, _ = tf2onnx.convert.from_function(traced, specs, output_path=str(path / f"{name}.onnx"))
        try:
            onnx.checker.check_model(model)  # what it has no form of, the converter leaves as it is
        except onnx.checker.ValidationError as error:
            raise no_form_of(vae, "onnx", error) from error
    return [f"{name}.onnx" for name in WITHOUT_DRAWS]


# Of a format: what writes it, the package that this takes, and what the folder holds that it writes; None for a file.
WRITERS = {
    "tf_saved_model": (write_saved_model, None, {"saved_model.pb", "fingerprint.pb", "variables", "assets"}),
    "litert": (write_litert, None, None),
    "onnx": (write_onnx, "tf2onnx", {f"{name}.onnx" for name in WITHOUT_DRAWS}),
}


def without_draws(vae):
    """The signatures that draw nothing: for each a `tf.function`, and the specs of its inputs."""
    every = signatures(vae)
    found = {}
    for name, source in WITHOUT_DRAWS.items():
        specs = [spec_of(each) for each in every[source].inputs]
        found[name] = tf.function(every[source].function, input_signature=specs, autograph=False), specs
    return found


def checked(function, inputs):
    """`function`, which refuses inputs of another shape by their names: a signature lets TensorFlow broadcast them."""

    def call(*given):
        pairs = zip(given, inputs, strict=True)
        return function(*(tf.ensure_shape(each, expected.shape, name=expected.name) for each, expected in pairs))

    return call


def no_form_of(vae, format, error):
    """The ValueError for a model with an operation that a format does not have."""
    families = " and ".join(
        type(layer).__name__ for part in (vae.encoder, vae.decoder) for layer in likelihood_layers(part)
    )
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ValueError(f"export: format={format!r} has no form of this model, which ends in {families}: {first}")


def spec_of(tensor):
    return tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)


def check_free(path, holds):
    """Raises ValueError if there is something at `path` but an export that `holds` these, or nothing yet."""
    if holds is None:
        is_ours, what = path.suffix == ".tflite" and not path.is_dir(), "a file whose name ends in .tflite"
    else:
        what = "a folder that is new, empty, or an earlier export and no more"
        is_ours = not path.exists() or (path.is_dir() and {entry.name for entry in path.iterdir()} <= holds)
    if path in (pathlib.Path.cwd(), *pathlib.Path.cwd().parents):
        is_ours, what = False, "a place of its own, not where this process works"
    if not is_ours:
        raise ValueError(f"export: expected `filepath` to be {what}; received: {str(path)!r}")


@contextlib.contextmanager
def written_beside(path):
    """A path beside `path`, to write to, which takes its place at the end; after an error `path` is as it was.

    A folder cannot take another's place in one step: whoever is killed between the two leaves the old one beside.
    """
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = folder / f"new{path.suffix}", folder / "old"
    try:
        yield new
        had_one = path.is_dir()
        if had_one:
            path.rename(old)
        try:
            os.replace(new, path)
        except BaseException:
            if had_one:
                old.rename(path)
            raise
        made = []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            parent.rmdir()


@contextlib.contextmanager
def quiet():
    """Within, converters say only what went wrong."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
