"""Files that hold classes of the user's own, that are read by every later version, and that are refused."""

import json
import pathlib
import zipfile

import keras
import numpy as np
import pytest
from fixtures.make import answers
from saved import check_same, normal_vae, reload, unlike_new
from small import KERAS

import keras_vae
from keras_vae import layers, objectives, priors, scales

FIXTURES = pathlib.Path(__file__).with_name("fixtures")
WRITTEN_BY = tuple(
    map(int, json.loads(zipfile.ZipFile(FIXTURES / "vae.keras").read("metadata.json"))["keras_version"].split(".")[:2])
)
# Its layers' configurations have words that an older Keras does not know.
by_its_keras = pytest.mark.skipif(KERAS < WRITTEN_BY, reason="the file was written by a newer Keras, which reads it")


# Classes of the user's own, registered with Keras as any are.

own = keras.saving.register_keras_serializable("test_files")


@own
class Encoder(keras.Model):
    """Makes its layers when it is built."""

    def __init__(self, latent, **kwargs):
        super().__init__(**kwargs)
        self.latent = latent
        self.posterior = layers.IndependentNormal(latent)

    def build(self, input_shape):
        self.hidden = keras.layers.Dense(5, "tanh")
        self.hidden.build((None, input_shape[-1]))
        self.posterior.build((None, 5))

    def call(self, x, training=None):
        return self.posterior(self.hidden(x))

    def get_config(self):
        return {**super().get_config(), "latent": self.latent}


@own
class Decoder(keras.Model):
    """Ends in a likelihood that it is given."""

    def __init__(self, likelihood, **kwargs):
        super().__init__(**kwargs)
        self.likelihood = likelihood
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, z, training=None):
        return self.likelihood(self.dropout(z, training=training))

    def get_config(self):
        return {**super().get_config(), "likelihood": keras.saving.serialize_keras_object(self.likelihood)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "likelihood": keras.saving.deserialize_keras_object(config["likelihood"])})


@own
class Tied(layers.IndependentNormal):
    """A family of the user's own."""


@own
class Halved(scales.Shared):
    """A scale with a weight of its own making."""

    def log_scale(self, features=None):
        return 0.5 * super().log_scale()


@own
class Shifted(priors.StandardNormal):
    """A prior with a weight."""

    def build(self, event_shape):
        super().build(event_shape)
        self.shift = self.add_weight(shape=event_shape, name="shift")

    def distribution(self):
        return keras_vae.backend.tfd.Independent(keras_vae.backend.tfd.Normal(self.shift, 1.0), 1)


@own
class Doubled(objectives.ELBO):
    """An objective with an argument more."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    @property
    def term_weights(self):
        return {"nll": self.factor, "kl": self.beta}

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@own
class Named(keras_vae.VAE):
    """A model with an argument more."""

    def __init__(self, *args, title="", **kwargs):
        super().__init__(*args, **kwargs)
        self.title = title

    def get_config(self):
        return {**super().get_config(), "title": self.title}


class Unregistered(keras.layers.Layer):
    """Is not known by a name."""

    def call(self, x):
        return x


def test_parts_of_the_user_s_own_come_back(tmp_path):
    decoder = Decoder(Tied(3, scale=Halved(0.3)))
    vae = Named(Encoder(2), decoder, prior=Shifted(), objective=Doubled(2.0, beta=0.5), title="mine")
    x = np.ones((3, 3), "float32")
    loaded = reload(unlike_new(vae, x), tmp_path)
    check_same(loaded, vae, x)
    assert type(loaded) is Named and loaded.title == "mine" and type(loaded.prior) is Shifted
    assert len(loaded.trainable_variables) == 8  # two of each Dense, of the posterior and of the likelihood; two alone


def test_what_is_not_registered_is_named(tmp_path):
    encoder = keras.Sequential([Unregistered(), layers.IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([layers.IndependentNormal(3)]))
    vae.build((None, 3))
    if KERAS == (3, 8):
        pytest.skip("Keras 3.8 finds a class that is not registered by its module")
    with pytest.raises(
        TypeError, match=r"Could not locate class 'Unregistered'. Make sure custom classes .* decorated"
    ):
        reload(vae, tmp_path)
    loaded = keras.saving.load_model(tmp_path / "vae.keras", custom_objects={"Unregistered": Unregistered})
    assert json.dumps(loaded.get_config()) == json.dumps(vae.get_config())


# For ever.


@by_its_keras
def test_a_file_of_the_first_version_gives_the_numbers_that_it_gave():
    """See fixtures/make.py. To 1e-5: what sums are made of may change, on other machines and in other versions."""
    vae = keras.saving.load_model(FIXTURES / "vae.keras")
    recorded = json.loads((FIXTURES / "vae.json").read_text())
    x, z = np.array(recorded["x"], "float32"), np.array(recorded["z"], "float32")
    posterior = vae.encode(x)
    found = {
        "log_prob": vae.decode(z).log_prob(x),
        "mean": posterior.mean(),
        "stddev": posterior.stddev(),
        "sigma": vae.decoder.layers[-1].scale.value(),
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, recorded[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert vae.optimizer.iterations == recorded["iterations"] == 36
    assert np.asarray(vae.seed_generator.state).tolist() == recorded["seed"] == [3, 36]
    np.testing.assert_allclose(vae.objective.beta(25), 0.5, rtol=1e-6)
    np.testing.assert_allclose(vae.optimizer.learning_rate, 1e-2 * 0.9 ** (36 / 50), rtol=1e-5)
    assert vae.count_params() == 613 and (FIXTURES / "vae.keras").stat().st_size < 100_000


def test_the_exported_model_of_once_gives_its_numbers():
    recorded = json.loads((FIXTURES / "served.json").read_text())
    given = json.loads((FIXTURES / "vae.json").read_text())
    found = answers(FIXTURES / "served", np.array(given["x"], "float32"), np.array(given["z"], "float32"))
    assert {name: set(outputs) for name, outputs in found.items()} == {n: set(each) for n, each in recorded.items()}
    for name, outputs in recorded.items():
        for output, value in outputs.items():
            np.testing.assert_allclose(found[name][output], value, rtol=1e-4, atol=1e-5, err_msg=f"{name} {output}")


def test_names_in_files_are_kept():
    for name in json.loads((FIXTURES / "vae.json").read_text())["registered"]:
        assert keras.saving.get_registered_object(name) is not None, name


# What is refused.


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "vae.keras"
    path.write_bytes((FIXTURES / "vae.keras").read_bytes())
    return path


DAMAGES = {
    "cut in half": (lambda content: content[: len(content) // 2], "whole .keras file at .*; found one that is cut off"),
    "its last bytes missing": (lambda content: content[:-10], "whole .keras file at .*; found one that is cut off"),
    "no model": (lambda content: b"no model" * 1000, "found a file of another kind. Use an earlier copy."),
    "empty": (lambda content: b"", "found an empty file. Was the disk full?"),
}


@pytest.fixture(scope="module")
def like_the_file():
    if KERAS < WRITTEN_BY:
        pytest.skip("the file was written by a newer Keras, which reads it")
    return keras.saving.load_model(FIXTURES / "vae.keras")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_whole_model_is_refused_by_a_word_of_ours(damage, file, like_the_file):
    """Whatever Python and Keras make of it."""
    make, message = DAMAGES[damage]
    file.write_bytes(make(file.read_bytes()))
    for load in (keras_vae.load_model, like_the_file.load_weights):
        with pytest.raises(ValueError, match=message):
            load(file)


def test_where_there_is_no_file_it_is_said(tmp_path, like_the_file):
    for load in (keras_vae.load_model, like_the_file.load_weights):
        with pytest.raises(ValueError, match=r"Expected a \.keras file at '.*none\.keras'; found nothing\."):
            load(tmp_path / "none.keras")
        (tmp_path / "folder.keras").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"Expected a \.keras file at '.*folder\.keras'; found a folder\."):
            load(tmp_path / "folder.keras")


@pytest.mark.parametrize("part", ["config.json", "model.weights.h5"])
def test_a_file_of_which_a_part_is_damaged_is_refused(part, file):
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        at = archive.getinfo(part).header_offset + 1000
    content[at : at + 100] = bytes(100 * [7])
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a whole \.keras file at .*vae\.keras'; found one .*{part}.* damaged"):
        keras_vae.load_model(file)


def test_a_file_with_half_a_configuration_is_refused(file):
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content[:100] if name == "config.json" else content)
    with pytest.raises(ValueError, match=r"found one whose part 'config.json' is damaged"):
        keras_vae.load_model(file)


def test_a_zip_file_without_a_model_is_refused(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match=r"found a zip file without 'config\.json'\. Save the model with"):
        keras_vae.load_model(file)


def test_a_whole_file_is_loaded_as_keras_loads_it(file, like_the_file):
    loaded = keras_vae.load_model(str(file))
    x = np.array(json.loads((FIXTURES / "vae.json").read_text())["x"], "float32")
    np.testing.assert_array_equal(loaded.encode(x).mean(), like_the_file.encode(x).mean())
    assert loaded.optimizer.iterations == 36 and not keras_vae.load_model(file, compile=False).compiled


def with_version(file, version):
    """The file as if it was saved by this version of the library, or by one that did not say."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    assert config["config"].pop("version") == "0.1.0"
    if version is not None:
        config["config"]["version"] = version
    parts["config.json"] = json.dumps(config)
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file


@pytest.mark.parametrize("version", ["9.9.0", "0.2.0", "1.0.0rc1"])
def test_a_file_of_a_newer_version_says_what_to_do(version, file, monkeypatch):
    monkeypatch.setattr(keras_vae.persistence, "__version__", "0.1.0")
    message = (
        rf"The model 'vae' was saved by keras_vae {version}, which is newer than the installed 0\.1\.0: "
        "pip install --upgrade keras_vae"
    )
    with pytest.raises(ValueError, match=message):
        keras.saving.load_model(with_version(file, version))


@by_its_keras
@pytest.mark.parametrize("version", [None, "0.0.7", "0.1.0", "0.1.9"])
def test_files_of_versions_that_are_no_newer_are_read(version, file, monkeypatch):
    monkeypatch.setattr(keras_vae.persistence, "__version__", "0.1.0")
    vae = keras.saving.load_model(with_version(file, version))
    assert vae.get_config()["version"] == "0.1.0"


def test_a_configuration_is_left_as_it_is():
    vae, _ = normal_vae()
    config = vae.get_config()
    keras_vae.VAE.from_config(config)
    assert config == vae.get_config() and config["version"] == keras_vae.__version__


@pytest.mark.parametrize("name", ["vae.h5", "vae.hdf5"])
def test_a_name_that_could_not_be_read_back_is_refused(name, tmp_path, like_the_file):
    with pytest.raises(ValueError, match=r"save: expected the name of a \.keras file; received .*For weights alone"):
        like_the_file.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_of_weights_is_no_model(tmp_path, like_the_file):
    like_the_file.save_weights(tmp_path / "vae.weights.h5")
    with pytest.raises(ValueError, match=r"expected a \.keras file, a whole model; received .*vae\.weights\.h5"):
        keras_vae.load_model(tmp_path / "vae.weights.h5")


@pytest.mark.parametrize("damage", ["absent", "empty", "cut off", "foreign"])
def test_a_file_of_weights_that_is_not_whole_is_refused(damage, tmp_path, like_the_file):
    path = tmp_path / "vae.weights.h5"
    if damage != "absent":
        like_the_file.save_weights(path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "cut off": whole[: len(whole) // 2], "foreign": b"words"}[damage])
    message = {"absent": "Expected a file of weights at .*; found nothing", "empty": "found an empty file"}
    with pytest.raises(ValueError, match=message.get(damage, "Expected a whole file of weights at .*vae.weights.h5")):
        like_the_file.load_weights(path)
