"""What callbacks wrote while a VAE trained: logs as TensorBoard reads and serves them, pictures as PIL reads them."""

import io
import json
import pathlib
import urllib.parse
import urllib.request

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from small import as_new, digits, gaussian_vae
from tensorboard import program
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

import keras_vae


def compiled(vae, optimizer=None, **kwargs):
    """The VAE, ready to be fitted by steps that are soon made: their XLA programs are not what is under test."""
    vae.compile(keras.optimizers.Adam(1e-2) if optimizer is None else optimizer, **{"jit_compile": False, **kwargs})
    return vae


def _small():
    return gaussian_vae(latent=2, units=8)


def small_vae(optimizer=None, **kwargs):
    """A compiled VAE of digits with two latents and few units: a new one, where it is to be compiled in another way."""
    return compiled(_small(), optimizer, **kwargs) if optimizer or kwargs else as_new(_small)


def joint_vae():
    """A compiled VAE of an image and a number, and some x for it."""
    keras.utils.set_random_seed(0)
    inputs = {"image": keras.Input((8, 8, 1), name="image"), "age": keras.Input((), name="age")}
    columns = [keras.layers.Flatten()(inputs["image"]), keras.layers.Reshape((1,))(inputs["age"])]
    features = keras.layers.Dense(8, "tanh")(keras.layers.Concatenate()(columns))
    encoder = keras.Model(inputs, keras_vae.layers.IndependentNormal(2)(features))
    parts = {
        "image": keras_vae.layers.IndependentBernoulli((8, 8, 1)),
        "age": keras_vae.layers.IndependentNormal(()),  # its sigma is a function of z
    }
    decoder = keras.Sequential([keras.layers.Dense(8, "tanh"), keras_vae.layers.Joint(parts)])
    x = {"image": digits()[:64], "age": np.linspace(-1.0, 1.0, 64, dtype="float32")}
    return compiled(keras_vae.VAE(encoder, decoder, seed=0)), x


def fit(vae, x, *callbacks, **kwargs):
    return vae.fit(x, callbacks=list(callbacks), **{"batch_size": 32, "epochs": 1, "verbose": 0, **kwargs})


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*") if path.is_file())


def pixels_of(png):
    """The pixels of a PNG's bytes, `[height, width, channels]`."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def in_levels(x):
    """Digits in 0..1 as bytes, each pixel seven by seven."""
    levels = np.rint(255.0 * np.clip(np.asarray(x, "float64"), 0.0, 1.0)).astype("uint8")
    return levels.repeat(7, axis=-3).repeat(7, axis=-2)


def tile(picture, row, column, side=56, gap=2):
    """A tile of a grid of squares."""
    top, left = row * (side + gap), column * (side + gap)
    return picture[top : top + side, left : left + side]


class Log:
    """A folder of logs, as TensorBoard reads it: a run for each sub-folder, and "." for the folder itself."""

    def __init__(self, folder):
        self.reader = EventMultiplexer(tensor_size_guidance={"scalars": 0, "images": 0})
        self.reader.AddRunsFromDirectory(str(folder))
        self.reader.Reload()

    def runs(self):
        return set(self.reader.Runs())

    def tags(self, kind, run="train"):
        """Of "scalars", "images", "histograms" or "text"."""
        return set(self.reader.PluginRunToTagToContent(kind).get(run, {}))

    def steps(self, tag, run="train"):
        return [event.step for event in self.reader.Tensors(run, tag)]

    def values(self, tag, run="train"):
        return [tf.make_ndarray(event.tensor_proto) for event in self.reader.Tensors(run, tag)]

    def pictures(self, tag, run="train"):
        """Of images, the pixels at each step."""
        return [pixels_of(value[2]) for value in self.values(tag, run)]

    def graph(self, run="train"):
        """The names of the ops of a run's graph."""
        graph = tf.compat.v1.GraphDef.FromString(self.reader.SerializedGraph(run))
        return {node.op for node in [*graph.node, *(n for each in graph.library.function for n in each.node_def)]}


class Server:
    """A TensorBoard that serves a folder to this machine, for as long as this process lives."""

    def __init__(self, folder):
        board = program.TensorBoard()
        once = ["--load_fast=false", "--reload_interval=0", "--reload_task=blocking"]
        board.configure([None, "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0", *once])
        self.url = board.launch().rstrip("/")

    def bytes(self, route, body=None, **query):
        url = f"{self.url}/data/plugin/{route}?{urllib.parse.urlencode(query)}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        body = None if body is None else json.dumps(body).encode()
        # Not by a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return answer.read()

    def json(self, route, body=None, **query):
        return json.loads(self.bytes(route, body, **query))

    def scalars(self, run, tag):
        """`{step: value}`."""
        return {step: value for _, step, value in self.json("scalars/scalars", run=run, tag=tag)}

    def pictures(self, run, tag):
        """`{step: pixels}`."""
        found = self.json("images/images", run=run, tag=tag, sample=0)
        queries = {each["step"]: dict(urllib.parse.parse_qsl(each["query"])) for each in found}
        return {step: pixels_of(self.bytes("images/individualImage", **query)) for step, query in queries.items()}

    def text(self, run, tag):
        """What is shown last, in HTML."""
        return self.json("text/text", run=run, tag=tag)[-1]["text"]
