"""`TensorBoard`: what a served log shows of a fit; every kind of data and step; what is refused, and what goes on."""

import contextlib
import math
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import types
import warnings

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from sklearn.datasets import load_digits
from small import KERAS, digits, gaussian_vae
from watched import Log, Server, compiled, files_under, fit, in_levels, joint_vae, pixels_of, small_vae, tile

import keras_vae
from keras_vae.backend import tfd, tfp
from keras_vae.callbacks import Gallery, TensorBoard, projector
from keras_vae.callbacks.descriptions import configuration
from keras_vae.callbacks.views import Views

# What must not stop training must not be in need of that here.
pytestmark = pytest.mark.filterwarnings("error:.*Training goes on:RuntimeWarning")

EPOCHS, BATCHES = 3, 4
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.0, 20, 1.0)
TRAINED_ON, VALIDATED_ON = slice(0, 128), slice(128, 208)
# Of tiles of 56 pixels, or 32 where there are 20 in a row, and the gaps between them.
IMAGES = {
    "pictures/reconstructions": (4 * 56 + 2 * 2 + 6, 8 * 58 - 2, 1),
    "pictures/samples": (8 * 58 - 2, 8 * 58 - 2, 1),
    "pictures/traversal": (2 * 58 - 2, 11 * 58 - 2, 1),
    "pictures/manifold": (20 * 34 - 2, 20 * 34 - 2, 1),
    "pictures/sigma": (2 * 58 - 2, 8 * 58 - 2, 1),
}
HISTOGRAMS = {"latent/kl", "latent/mean", "latent/stddev", "latent/aggregate_posterior", "latent/prior"}
OF_TRAINING = {
    *("epoch_loss", "epoch_elbo", "epoch_nll", "epoch_kl", "epoch_learning_rate", "epoch_bits_per_dimension"),
    *("training/examples_per_second", "latent/active_units", "latent/mutual_information", "training/gradient_norm"),
}
OF_VALIDATION = {"epoch_loss", "epoch_elbo", "epoch_nll", "epoch_kl", "epoch_bits_per_dimension"}
OF_SIGMA = {"likelihood/stddev_mean", "likelihood/stddev_min", "likelihood/stddev_max"}


def labels():
    return load_digits().target


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A fit that was watched, and a TensorBoard that serves its log."""
    folder = tmp_path_factory.mktemp("logs") / "run_1"
    objective = keras_vae.objectives.ELBO(beta=SCHEDULE)
    vae = compiled(gaussian_vae(latent=2, scale=keras_vae.scales.PerElement(), objective=objective))
    x, y = digits()[VALIDATED_ON], labels()[VALIDATED_ON]
    callback = TensorBoard(folder, hparams={"width": 16, "team": "blue"})
    history = fit(vae, digits()[TRAINED_ON], callback, epochs=EPOCHS, validation_data=(x, y)).history
    latents = vae.encode(x).mean().numpy()
    return types.SimpleNamespace(
        vae=vae, x=x, y=y, history=history, latents=latents, folder=folder, server=Server(folder)
    )


# What is served: scalars.


def test_every_scalar_that_the_docstring_names_is_served(watched):
    tags = watched.server.json("scalars/tags")
    assert set(tags["train"]) == {*OF_TRAINING, *OF_SIGMA, "weight/kl"}
    assert {tag for tag in tags["validation"] if not tag.startswith("evaluation_")} == OF_VALIDATION
    for run, tag in [("train", tag) for tag in tags["train"]] + [("validation", tag) for tag in OF_VALIDATION]:
        assert list(watched.server.scalars(run, tag)) == list(range(EPOCHS)), tag
    for tag in OF_TRAINING | OF_SIGMA:
        assert f"`{tag}`" in TensorBoard.__doc__ or tag in (
            *("likelihood/stddev_min", "likelihood/stddev_max"),  # shortened
            "epoch_learning_rate",  # of Keras
        )


@pytest.mark.parametrize("name", ["loss", "elbo", "nll", "kl"])
def test_terms_are_those_of_the_history(watched, name):
    for run, prefix in (("train", ""), ("validation", "val_")):
        served = watched.server.scalars(run, f"epoch_{name}")
        np.testing.assert_allclose(list(served.values()), watched.history[prefix + name], rtol=1e-6)


def test_bits_per_dimension(watched):
    for run, name in (("train", "elbo"), ("validation", "val_elbo")):
        served = watched.server.scalars(run, "epoch_bits_per_dimension")
        expected = -np.array(watched.history[name]) / (64 * math.log(2))
        np.testing.assert_allclose(list(served.values()), expected, rtol=1e-6)


def test_a_weights_schedule_at_the_iteration_that_an_epoch_ends_at(watched):
    for epoch, weight in watched.server.scalars("train", "weight/kl").items():
        assert weight == pytest.approx(float(SCHEDULE(BATCHES * (epoch + 1))), rel=1e-6)


def test_latents_in_numbers(watched):
    active = watched.server.scalars("train", "latent/active_units")
    assert all(number in (0, 1, 2) for number in active.values())
    assert active[EPOCHS - 1] == (watched.latents.var(axis=0) > 0.01).sum()
    information = watched.server.scalars("train", "latent/mutual_information").values()
    assert all(0 < nats <= math.log(len(watched.x)) for nats in information)


def test_sigma_in_numbers(watched):
    mean, least, most = (watched.server.scalars("train", f"likelihood/stddev_{of}") for of in ("mean", "min", "max"))
    for epoch in range(EPOCHS):
        assert 0 < least[epoch] <= mean[epoch] <= most[epoch]
    sigma = watched.vae.decode(watched.latents[:16]).stddev().numpy()
    found = [served[EPOCHS - 1] for served in (mean, least, most)]
    np.testing.assert_allclose(found, [sigma.mean(), sigma.min(), sigma.max()], rtol=1e-4)


def test_gradient_norm(watched):
    served = watched.server.scalars("train", "training/gradient_norm")
    assert all(0 < norm < math.inf for norm in served.values())
    variables = [variable.value for variable in watched.vae.trainable_variables]
    with keras_vae.backend.uncompiled(), tf.GradientTape() as tape:
        terms = watched.vae.objective(watched.vae.forward_pass(watched.x, tf.constant((0, 0)), training=False))
        nll, kl = (tf.reduce_mean(terms[name]) for name in ("nll", "kl"))
        loss = nll + SCHEDULE(BATCHES * EPOCHS) * kl
    gradients = [np.asarray(each, "float64").ravel() for each in tape.gradient(loss, variables)]
    assert served[EPOCHS - 1] == pytest.approx(np.linalg.norm(np.concatenate(gradients)), rel=1e-4)


def test_examples_per_second(watched):
    served = watched.server.scalars("train", "training/examples_per_second")
    assert all(0 < rate < 1e8 for rate in served.values())


# What is served: pictures.


def test_every_image_at_every_epoch(watched):
    tags = watched.server.json("images/tags")
    assert set(tags["train"]) == set(IMAGES) and set(tags) == {"train"}
    for tag, shape in IMAGES.items():
        assert tags["train"][tag]["description"]
        pictures = watched.server.pictures("train", tag)
        assert list(pictures) == list(range(EPOCHS)), tag
        for pixels in pictures.values():
            assert pixels.shape == shape and pixels.dtype == "uint8", tag
            assert len(np.unique(pixels)) > 8, f"{tag}: blank"
        assert not np.array_equal(pictures[0], pictures[EPOCHS - 1]), f"{tag}: what is learned shows"


def last(watched, tag):
    return watched.server.pictures("train", tag)[EPOCHS - 1].astype(int)


def decoded(watched, z):
    return in_levels(watched.vae.decode(np.asarray(z, "float32")).mean()).astype(int)


def test_reconstructions_are_below_their_originals(watched):
    picture, originals = last(watched, "pictures/reconstructions"), in_levels(watched.x[:16])
    reconstructions = decoded(watched, watched.latents[:16])
    for place in range(16):
        pair = picture[(2 * 58 + 4) * (place // 8) :]
        np.testing.assert_array_equal(tile(pair, 0, place % 8), originals[place])
        np.testing.assert_allclose(tile(pair, 1, place % 8), reconstructions[place], atol=1)


def test_samples_are_of_different_latents(watched):
    picture = last(watched, "pictures/samples")
    tiles = {tile(picture, row, column).tobytes() for row in range(8) for column in range(8)}
    assert len(tiles) == 64


def test_traversal_is_of_one_latent_a_row(watched):
    picture = last(watched, "pictures/traversal")
    for row, unit in enumerate(np.argsort(-watched.latents.var(axis=0))):
        z = np.tile(watched.latents[0], (11, 1))
        z[:, unit] = np.linspace(-3, 3, 11)
        for column, expected in enumerate(decoded(watched, z)):
            np.testing.assert_allclose(tile(picture, row, column), expected, atol=1)


def test_manifold_is_of_the_priors_quantiles(watched):
    picture = last(watched, "pictures/manifold")
    quantiles = scipy.stats.norm.ppf((np.arange(20) + 0.5) / 20)
    for row, column in ((0, 0), (0, 19), (19, 0), (7, 12)):
        (expected,) = decoded(watched, [[quantiles[column], quantiles[19 - row]]])
        np.testing.assert_allclose(tile(picture, row, column, side=32)[::4, ::4], expected[::7, ::7], atol=1)


def test_sigma_is_from_black_to_its_greatest(watched):
    picture, sigma = last(watched, "pictures/sigma"), watched.vae.decode(watched.latents[:16]).stddev().numpy()
    for place, expected in enumerate(in_levels(sigma / sigma.max())):
        np.testing.assert_allclose(tile(picture, *divmod(place, 8)), expected.astype(int), atol=1)
    assert picture.max() == 255


# What is served: the rest.


def test_histograms(watched):
    tags = watched.server.json("histograms/tags")
    assert set(tags["train"]) == HISTOGRAMS and set(tags) == {"train"}
    values = {
        "latent/kl": watched.vae.encode(watched.x).stddev().numpy()[0],  # as many
        "latent/mean": watched.latents,
        "latent/stddev": watched.vae.encode(watched.x).stddev().numpy(),
        "latent/aggregate_posterior": watched.latents,
        "latent/prior": watched.latents,
    }
    for tag in HISTOGRAMS:
        found = watched.server.json("histograms/histograms", run="train", tag=tag)
        assert [step for _, step, _ in found] == list(range(EPOCHS)), tag
        buckets = np.array(found[-1][2])
        assert buckets[:, 2].sum() == (2 * 1000 if tag == "latent/prior" else values[tag].size), tag
        if tag in ("latent/mean", "latent/stddev"):
            ends = buckets[0, 0], buckets[-1, 1]
            np.testing.assert_allclose(ends, (values[tag].min(), values[tag].max()), rtol=1e-4)


def test_texts(watched):
    (tags,) = watched.server.json("text/tags").values()
    assert set(tags) == {"summary", "configuration", "latent/units"}
    assert "Total params" in watched.server.text("train", "summary")
    configuration = watched.server.text("train", "configuration")
    for name, value in {"likelihood": "IndependentNormal", "scale": "PerElement", "width": 16, "team": "blue"}.items():
        assert re.search(rf"<td>{name}</td>\s*<td>{value}</td>", configuration), name
    units = re.findall(r"<tr>\s*<td>(\d)</td>\s*<td>([\d.]+)</td>", watched.server.text("train", "latent/units"))
    variances = watched.latents.var(axis=0)
    assert [int(unit) for unit, _ in units] == list(np.argsort(-variances))
    np.testing.assert_allclose([float(variance) for _, variance in units], np.sort(variances)[::-1], atol=1e-4)


def test_projector(watched):
    server, of = watched.server, {"run": "train", "name": "posterior_means"}
    assert server.json("projector/runs") == ["train"]
    (embedding,) = server.json("projector/info", run="train")["embeddings"]
    assert embedding["tensorName"] == of["name"] and embedding["tensorShape"] == [80, 2]
    points = np.frombuffer(server.bytes("projector/tensor", **of), "float32").reshape(80, 2)
    np.testing.assert_allclose(points, watched.latents, atol=1e-4)
    assert [int(line) for line in server.bytes("projector/metadata", **of).split()] == list(watched.y)
    sprite = pixels_of(server.bytes("projector/sprite_image", **of))
    width, height = embedding["sprite"]["singleImageDim"]
    assert (width, height) == (32, 32) and sprite.shape == (9 * 32, 9 * 32, 1)
    for place in (0, 1, 79):
        thumbnail = tile(sprite, *divmod(place, 9), side=32, gap=0)
        np.testing.assert_array_equal(thumbnail[::4, ::4], in_levels(watched.x[place])[::7, ::7])


def test_hparams(watched):
    """In the table of all runs: of one served alone, TensorBoard does not find the metrics."""
    server, metric = Server(watched.folder.parent), {"group": "validation", "tag": "epoch_elbo"}
    experiment = server.json("hparams/experiment", {})
    infos = experiment["metricInfos"]
    assert metric in [info["name"] for info in infos]
    columns = [{"hparam": info["name"]} for info in experiment["hparamInfos"]]
    columns += [{"metric": info["name"]} for info in infos]
    found = server.json(
        "hparams/session_groups",
        {
            "startIndex": 0,
            "sliceSize": 10,
            "allowedStatuses": ["STATUS_SUCCESS"],
            "colParams": [{**column, "includeInResult": True} for column in columns],
        },
    )
    (group,) = found["sessionGroups"]
    assert group["sessions"][0]["name"] == "run_1"
    expected = {"width": 16, "team": "blue", "latents": 2, "likelihood": "IndependentNormal", "optimizer": "Adam"}
    expected |= {"objective": "ELBO", "objective/beta": type(SCHEDULE).__name__, "objective/kl": "auto"}
    assert expected.items() <= group["hparams"].items()
    assert group["hparams"]["parameters"] == watched.vae.count_params()
    values = {(each["name"]["group"], each["name"]["tag"]): each["value"] for each in group["metricValues"]}
    assert len(values) == len(infos), "each that is named is there"
    assert values["validation", "epoch_elbo"] == pytest.approx(watched.history["val_elbo"][-1], rel=1e-6)


def test_nothing_is_left_half_written(watched):
    assert not [name for name in files_under(watched.folder) if name.endswith(".new")]


def test_pictures_are_drawn_with_the_same_noise_each_time(tmp_path):
    """Of a model that does not change, pictures, and what has noise in it, do not change. Here of pixels in a row."""
    vae = compiled(gaussian_vae((64,), latent=2), keras.optimizers.SGD(0.0))
    fit(vae, digits()[:32].reshape(32, 64), TensorBoard(tmp_path, shape=(8, 8, 1)), epochs=2)
    log = Log(tmp_path)
    for tag in ("pictures/samples", "pictures/reconstructions", "pictures/traversal", "pictures/manifold"):
        before, after = log.pictures(tag)
        assert before.shape == IMAGES[tag]
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(tile(log.pictures("pictures/reconstructions")[0], 0, 3), in_levels(digits()[3]))
    for tag in ("latent/aggregate_posterior", "latent/prior", "latent/mutual_information", "training/gradient_norm"):
        before, after = log.values(tag)
        np.testing.assert_array_equal(before, after)


# Keras's own callback, and ours in its place.


@pytest.mark.parametrize("update_freq", [pytest.param("batch", marks=pytest.mark.slow), 3])
def test_all_that_keras_writes_is_written(tmp_path, update_freq):
    """And what an epoch ends with, too, where Keras's `update_freq` happens to leave it out."""
    given = {
        **{"histogram_freq": 1, "write_graph": True, "write_images": True, "update_freq": update_freq},
        **{"write_steps_per_second": True, "profile_batch": (2, 3)},
    }
    vae, logs = small_vae(), {}
    for kind in (keras.callbacks.TensorBoard, TensorBoard):
        folder = tmp_path / kind.__module__
        fit(vae, digits()[:128], kind(folder, **given), epochs=2, validation_data=(digits()[128:192],))
        logs[kind] = Log(folder)
    keras_log, log = logs.values()
    assert keras_log.runs() == {"train", "validation"} and log.runs() == {*keras_log.runs(), "."}
    for run in keras_log.runs():
        for kind in ("scalars", "histograms", "images"):
            assert keras_log.tags(kind, run) <= log.tags(kind, run), (run, kind)
    assert {"batch_loss", "batch_elbo", "batch_steps_per_second"} <= keras_log.tags("scalars")
    assert any(tag.endswith("kernel/histogram") for tag in log.tags("histograms"))
    assert set(IMAGES) - {"pictures/sigma"} <= log.tags("images")
    for tag in (
        "epoch_loss",
        "epoch_sigma",
        "epoch_steps_per_second",
        "latent/active_units",
        "pictures/samples",
        "latent/kl",
    ):
        assert log.steps(tag) == [0, 1], (tag, log.steps(tag))
    assert any(name.endswith(".xplane.pb") for name in files_under(folder / "train/plugins/profile"))
    every_third = update_freq == 3 and KERAS > (3, 8)  # before, Keras took no notice
    assert log.steps("batch_loss") == keras_log.steps("batch_loss") == ([3, 6] if every_third else [*range(1, 9)])
    for each in (keras_log, log) if update_freq == "batch" else (log,):
        assert {"MatMul", "Tanh", "AssignSubVariableOp"} <= each.graph(), "of a training step"


def thorough_vae():
    """One with all that a look could disturb: noise, and statistics of the batches."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    encoder = keras.Sequential(
        [
            *(layers.Flatten(), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.2)),
            keras_vae.layers.IndependentNormal(2),
        ]
    )
    decoder = keras.Sequential(
        [layers.Dense(8, "tanh"), layers.Dropout(0.2), keras_vae.layers.IndependentNormal((8, 8, 1))]
    )
    return compiled(keras_vae.VAE(encoder, decoder, seed=0))


def test_watching_changes_nothing(tmp_path):
    """Bit for bit: weights, statistics, states of the noise, the optimizer; and what is reported."""
    states, histories = [], []
    for watchers in ([], [TensorBoard(tmp_path / "log"), Gallery(tmp_path / "gallery")]):
        vae = thorough_vae()
        histories.append(fit(vae, digits()[:128], *watchers, validation_split=0.25, epochs=2).history)
        states.append([np.asarray(variable) for variable in (*vae.variables, *vae.optimizer.variables)])
    assert histories[0] == histories[1]
    assert len(states[0]) == len(states[1]) > 20
    for without, watched in zip(*states, strict=True):
        np.testing.assert_array_equal(without, watched)
    assert Log(tmp_path / "log").steps("pictures/samples") == [0, 1] and files_under(tmp_path / "gallery")


# When it looks, and at what.


def test_never(tmp_path):
    """As Keras's own, and that alone: even of what we cannot look at."""
    callback = TensorBoard(tmp_path, vae_freq=0, examples=np.zeros((2, 3)))
    fit(small_vae(), digits()[:32], callback)
    log = Log(tmp_path)
    assert log.runs() == {"train"}
    assert {tag for tag in log.tags("scalars") if not tag.startswith("epoch_")} == set()
    assert "epoch_bits_per_dimension" not in log.tags("scalars")
    assert not log.tags("images") | log.tags("histograms") | log.tags("text")
    assert not [name for name in files_under(tmp_path) if "projector" in name]


def test_a_weight_that_a_callback_sets_is_written_from_where_it_moves(tmp_path):
    """And one that stays what it is is not: it is in the configuration."""
    vae, betas = small_vae(), [1.0, 2.0, 2.0, 1.0]

    def set_beta(epoch, logs=None):
        vae.objective.beta = betas[epoch]

    setting = keras.callbacks.LambdaCallback(on_epoch_begin=set_beta)
    fit(vae, digits()[:64], setting, TensorBoard(tmp_path), epochs=4)
    log = Log(tmp_path)
    for tag in ("weight/kl", "constant/beta"):
        assert log.steps(tag) == [1, 2, 3]
        np.testing.assert_array_equal(log.values(tag), betas[1:])
    assert "weight/nll" not in log.tags("scalars")


def test_constants_that_move_and_what_is_learned_are_written(tmp_path):
    """A capacity by a schedule, beside a weight that stays; and a beta that is learned, with a level that is set."""
    capacity = keras_vae.schedules.LinearWarmup(4, end=6.0)
    vae = compiled(gaussian_vae(latent=2, objective=keras_vae.objectives.Capacity(capacity, gamma=3.0)))
    fit(vae, digits()[:64], TensorBoard(tmp_path / "a"), epochs=3, batch_size=32)
    log = Log(tmp_path / "a")
    np.testing.assert_allclose(log.values("constant/capacity"), [3.0, 6.0, 6.0])
    assert not {"weight/capacity_gap", "weight/nll", "constant/gamma"} & log.tags("scalars")
    (configuration,) = log.values("configuration")
    for row in (
        "| objective/capacity | LinearWarmup |",
        "| weight of capacity_gap | 3.0 |",
        "| objective/gamma | 3.0 |",
    ):
        assert row in str(configuration)

    vae = compiled(gaussian_vae(latent=2, objective=keras_vae.objectives.GECO(20.0, 0.01)))
    set_level = keras.callbacks.LambdaCallback(on_epoch_begin=lambda e, logs: setattr(vae.objective, "level", 20.0 + e))
    history = fit(vae, digits()[:64], set_level, TensorBoard(tmp_path / "b"), epochs=3).history
    log = Log(tmp_path / "b")
    for tag in ("epoch_beta", "weight/kl"):
        np.testing.assert_allclose(log.values(tag), history["beta"], rtol=1e-5)
    assert log.steps("constant/level") == [1, 2] and "constant/speed" not in log.tags("scalars")
    (configuration,) = log.values("configuration")
    for row in ("| objective/level | 20.0 |", "| weight of kl | learned |"):
        assert row in str(configuration)


@keras.saving.register_keras_serializable("tests")
class Clashing(keras_vae.objectives.ELBO):
    """An objective whose arguments are called as what the model is described by."""

    seed = keras_vae.objectives.Hyperparameter()

    def __init__(self, seed=7.0, scale=None, **kwargs):
        super().__init__(**kwargs)
        self.seed, self.scale = seed, scale

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def described(objective):
    vae = compiled(gaussian_vae(latent=2, objective=objective))
    vae.build((None, 8, 8, 1))
    return configuration(vae)


def test_what_an_objective_was_made_with_is_among_the_hyperparameters():
    """All that is plain in its configuration, under names that nothing else has."""
    of = keras_vae.objectives
    expected = [
        (of.RenyiBound(0.25, num_samples=3), {"alpha": 0.25}),
        (of.MIWAE(2, num_samples=6), {"num_bounds": 2}),
        (of.ELBO(keras.Variable(2.0), gradient="stl"), {"beta": 2.0, "gradient": "stl", "kl": "auto"}),
        (of.FreeBits(0.5, groups=[[0], [1]]), {"level": 0.5, "beta": 1.0, "groups": "[[0], [1]]", "over": "batch"}),
        (of.WAE(3.0, of.kernels.RBF([1, 2])), {"weight": 3.0, "kernel": "RBF(scale=[1, 2])"}),
        (of.DIPVAE(kind="II"), {"kind": "II"}),
        (of.FactorVAE(discriminator=keras.Sequential([keras.layers.Dense(2)])), {"discriminator": "Sequential"}),
        (of.Sum(of.ELBO(), of.MMD(2.0), of.TotalCorrelation(3.0)), {"MMD/weight": 2.0, "TotalCorrelation/weight": 3.0}),
        (Clashing(), {"seed": 7.0, "scale": "none"}),
    ]
    for objective, settings in expected:
        found = described(objective)
        assert {f"objective/{name}": value for name, value in settings.items()}.items() <= found.items()
        assert found["seed"] == 0 and found["scale"] == "Shared" and found["num_samples"] == objective.num_samples
        assert not any("name" in name or "objectives" in name for name in found)


def points_in(folder):
    return np.loadtxt(folder / "train/projector/points.tsv")


def labels_in(folder):
    return (folder / "train/projector/labels.tsv").read_text().splitlines()


def test_without_validation_it_looks_at_the_first_it_trains_on(tmp_path):
    vae, x = small_vae(), digits()[:600]
    fit(vae, x, TensorBoard(tmp_path), y=labels()[:600], batch_size=300)
    log = Log(tmp_path)
    assert log.runs() == {"train", "."}
    assert log.tags("scalars") >= OF_TRAINING | {"epoch_sigma"}
    assert not (OF_SIGMA | {"weight/kl"}) & log.tags("scalars"), "sigma is one number, and no weight has a schedule"
    np.testing.assert_allclose(points_in(tmp_path), vae.encode(x[:512]).mean(), atol=1e-4)
    assert labels_in(tmp_path) == [str(label) for label in labels()[:512]]


def test_a_share_split_off_for_validation_is_what_it_looks_at(tmp_path):
    """And what is no label each is none."""
    vae, x = small_vae(), digits()[:80]
    fit(vae, x, TensorBoard(tmp_path), y=np.eye(10)[labels()[:80]], validation_split=0.2)
    np.testing.assert_allclose(points_in(tmp_path), vae.encode(x[64:]).mean(), atol=1e-4)
    assert not (tmp_path / "train/projector/labels.tsv").exists()


def test_labels_may_be_words(tmp_path):
    """Each in a line of its own, as TensorBoard reads them."""
    words = [f"a {'tab' if each % 2 else 'line'}:\t\n{each}" for each in range(8)]
    projector.write(str(tmp_path / "train"), "points", np.eye(8), words)
    assert labels_in(tmp_path) == [" ".join(re.split(r"[\t\n]", word)) for word in words]
    np.testing.assert_array_equal(points_in(tmp_path), np.eye(8))


def stream():
    while True:
        yield (digits()[:32],)


@pytest.mark.parametrize("examples", [None, digits()[64:72]], ids=["alone", "with examples"])
def test_generator(tmp_path, examples):
    """What can be had once is looked at as it was trained on, unless examples are given."""
    fit(small_vae(), stream(), TensorBoard(tmp_path, examples=examples), batch_size=None, steps_per_epoch=2, epochs=2)
    log, shown = Log(tmp_path), digits()[7] if examples is None else examples[7]
    assert log.steps("epoch_bits_per_dimension") == log.steps("training/examples_per_second") == [0, 1]
    assert {"summary", "configuration"} <= log.tags("text")
    assert log.tags("scalars") >= OF_TRAINING
    assert log.steps("pictures/samples") == [0, 1]
    np.testing.assert_array_equal(tile(log.pictures("pictures/reconstructions")[0], 0, 7), in_levels(shown))


class Batches(keras.utils.PyDataset):
    num_batches = 4

    def __getitem__(self, batch):
        rows = slice(16 * batch, 16 * batch + 16)
        return digits()[rows], labels()[rows]


@pytest.mark.parametrize("kind", ["tf.data", pytest.param("PyDataset", marks=pytest.mark.slow)])
def test_what_only_training_reads_is_looked_at_as_it_was_trained_on(tmp_path, kind):
    """And by a program that takes three batches, of four: then of the last one."""
    data, read = Batches(), []
    if kind == "tf.data":
        data = tf.data.Dataset.from_tensor_slices((digits()[:64], labels()[:64])).batch(16)
        data = data.map(lambda *batch: tf.py_function(lambda *b: (read.append(1), *b)[1:], batch, ("float32", "int64")))
        data = data.map(lambda x, y: (tf.ensure_shape(x, (16, 8, 8, 1)), tf.ensure_shape(y, (16,))))
    vae = small_vae(steps_per_execution=3)
    fit(vae, data, TensorBoard(tmp_path), batch_size=None, **({"shuffle": False} if kind == "PyDataset" else {}))
    log = Log(tmp_path)
    assert log.tags("scalars") >= OF_TRAINING and log.steps("pictures/samples") == [0]
    np.testing.assert_allclose(points_in(tmp_path), vae.encode(digits()[48:64]).mean(), atol=1e-4)
    assert len(read) in (0, 4), "by nobody else"


def test_what_it_validates_on_is_read_once_for_all_callbacks(tmp_path):
    data = tf.data.Dataset.from_tensor_slices((digits()[:64], labels()[:64])).batch(16)
    vae, watchers = small_vae(), [TensorBoard(tmp_path), Gallery(tmp_path / "gallery")]
    fit(vae, digits()[:32], *watchers, validation_data=data)
    np.testing.assert_allclose(points_in(tmp_path), vae.encode(digits()[:64]).mean(), atol=1e-4)
    assert labels_in(tmp_path) == [str(label) for label in labels()[:64]]


# How it trains.


@pytest.mark.parametrize(
    "how", [{"run_eagerly": True}, pytest.param({"jit_compile": True}, marks=pytest.mark.slow)], ids=["eager", "XLA"]
)
def test_every_kind_of_step(tmp_path, how):
    # Eager steps without the small XLA programs of their ops, which take a while to compile.
    with keras_vae.backend.uncompiled() if how.get("run_eagerly") else contextlib.nullcontext():
        history = fit(small_vae(**how), digits()[:40], TensorBoard(tmp_path)).history
    log = Log(tmp_path)
    assert log.tags("scalars") >= OF_TRAINING and set(IMAGES) - {"pictures/sigma"} == log.tags("images")
    np.testing.assert_allclose(log.values("epoch_elbo"), history["elbo"], rtol=1e-6)
    (rate,) = log.values("training/examples_per_second")
    assert 0 < rate < 1e8


def test_mixed_precision(tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vae = compiled(gaussian_vae(latent=2, units=8, scale=keras_vae.scales.PerElement()))
        fit(vae, digits()[:64], TensorBoard(tmp_path))
    finally:
        keras.config.set_dtype_policy(before)
    log = Log(tmp_path)
    assert log.tags("scalars") >= OF_TRAINING | OF_SIGMA and set(IMAGES) == log.tags("images")
    assert all(np.isfinite(log.values(tag)).all() for tag in log.tags("scalars"))
    assert log.values("training/gradient_norm")[0] > 0
    np.testing.assert_array_equal(tile(log.pictures("pictures/reconstructions")[0], 0, 0), in_levels(digits()[0]))
    assert re.search(r"precision \| mixed_float16", str(log.values("configuration")[0]))


def test_every_second_epoch_of_two_fits(tmp_path):
    """One callback for both, of the data of each; epochs are counted through."""
    vae, callback = small_vae(), TensorBoard(tmp_path, vae_freq=2)
    fit(vae, digits()[:32], callback, y=labels()[:32])
    fit(vae, digits()[32:64], callback, y=labels()[32:64], initial_epoch=1, epochs=4)
    log = Log(tmp_path)
    assert log.steps("epoch_loss") == [0, 1, 2, 3]
    assert log.steps("epoch_bits_per_dimension") == [0, 1, 2, 3]
    for tag in ("pictures/samples", "latent/active_units", "latent/kl", "latent/units"):
        assert log.steps(tag) == [0, 2, 3], tag  # and the model as it ended
    for picture, first in zip(log.pictures("pictures/reconstructions"), (0, 32, 32), strict=True):
        np.testing.assert_array_equal(tile(picture, 0, 0), in_levels(digits()[first]))
    assert labels_in(tmp_path) == [str(label) for label in labels()[32:64]]


def test_evaluate(tmp_path):
    vae = small_vae()
    found = vae.evaluate(digits()[:64], callbacks=[TensorBoard(tmp_path)], verbose=0, return_dict=True)
    log = Log(tmp_path)
    assert log.values("evaluation_elbo_vs_iterations", "validation") == [pytest.approx(found["elbo"], rel=1e-6)]


# Other x.


def test_joint(tmp_path):
    vae, x = joint_vae()
    history = fit(vae, x, TensorBoard(tmp_path), Gallery(tmp_path / "gallery")).history
    log = Log(tmp_path)
    of_each = {f"{kind}/{part}" for kind in set(IMAGES) - {"pictures/sigma"} for part in x}
    assert log.tags("images") == of_each | {"pictures/sigma/age"}
    names = {tag.removeprefix("pictures/").replace("/", "-") for tag in log.tags("images")}
    assert {f"{name}-0001.png" for name in names} == set(files_under(tmp_path / "gallery"))
    assert {f"{tag}/age" for tag in OF_SIGMA} <= log.tags("scalars")
    assert log.values("epoch_nll/age") == [pytest.approx(history["nll/age"][0], rel=1e-6)]
    np.testing.assert_array_equal(
        tile(log.pictures("pictures/reconstructions/image")[0], 0, 7), in_levels(x["image"][7])
    )
    assert log.pictures("pictures/samples/age")[0].shape[-1] == 3, "a plot"
    assert log.values("epoch_bits_per_dimension")[0] == pytest.approx(
        -history["elbo"][0] / (65 * math.log(2)), rel=1e-5
    )
    assert np.loadtxt(tmp_path / "train/projector/points.tsv").shape == (64, 2)
    assert pixels_of((tmp_path / "train/projector/sprite.png").read_bytes()).any()


@pytest.mark.parametrize(
    "event_shape", [(5,), pytest.param((20, 2), marks=pytest.mark.slow)], ids=["table", "sequence"]
)
def test_what_is_plotted(tmp_path, event_shape):
    x = np.random.default_rng(0).normal(size=(40, *event_shape)).astype("float32")
    vae = compiled(gaussian_vae(event_shape, latent=3, units=8))
    fit(vae, x, TensorBoard(tmp_path))
    log = Log(tmp_path)
    assert log.tags("images") == {"pictures/reconstructions", "pictures/samples", "pictures/traversal"}, (
        "a manifold is of two latents"
    )
    for tag in log.tags("images"):
        (pixels,) = log.pictures(tag)
        assert pixels.shape[-1] == 3 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 4, tag
    assert log.tags("scalars") >= OF_TRAINING and points_in(tmp_path).shape == (40, 3)


@keras.saving.register_keras_serializable("test_tensorboard")
def between_0_and_1(features):
    location, spread = keras.ops.split(features, 2, axis=-1)
    return tfd.Independent(tfd.LogitNormal(location, 0.1 + keras.ops.softplus(spread)), 1)


def test_moments_without_a_closed_form(tmp_path):
    """Then they are of draws, near what an integral gives."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(4), keras_vae.layers.DistributionLambda(between_0_and_1)]
    )
    decoder = keras.Sequential([keras_vae.layers.IndependentBernoulli((8, 8, 1))])
    vae = compiled(keras_vae.VAE(encoder, decoder, seed=0))
    fit(vae, digits()[:64], TensorBoard(tmp_path))
    log = Log(tmp_path)
    assert log.tags("scalars") >= OF_TRAINING and set(IMAGES) - {"pictures/sigma"} == log.tags("images")
    assert all(np.isfinite(log.values(tag)).all() for tag in log.tags("scalars"))
    normal = vae.encode(digits()[:64]).distribution
    nodes = scipy.stats.norm.ppf((np.arange(400) + 0.5) / 400)[:, None, None]
    exact = (1 / (1 + np.exp(-(normal.loc.numpy() + normal.scale.numpy() * nodes)))).mean(axis=0)
    # 1,000 draws of a spread below 1/2: an error of 0.08 is one of five standard deviations.
    np.testing.assert_allclose(points_in(tmp_path), exact, atol=0.08)
    assert "on its own, by 100 draws an example" in log.values("latent/units")[0].item().decode()


@keras.saving.register_keras_serializable("test_tensorboard")
def skewed(features):
    base = tfd.MultivariateNormalDiag(features, tf.ones(2))
    return tfd.TransformedDistribution(base, tfp.bijectors.SinhArcsinh(skewness=0.5))


def test_the_kl_of_a_unit_is_left_out_where_it_is_not_known_and_the_table_says_so(tmp_path):
    """Under a flow, whose pictures are of its centre."""
    keras.utils.set_random_seed(0)
    encoder = [keras.layers.Flatten(), keras.layers.Dense(2), keras_vae.layers.DistributionLambda(skewed)]
    decoder = keras.Sequential([keras_vae.layers.IndependentBernoulli((8, 8, 1))])
    vae = compiled(keras_vae.VAE(keras.Sequential(encoder), decoder, seed=0))
    x = digits()[:64]
    fit(vae, x, TensorBoard(tmp_path))
    log = Log(tmp_path)
    assert log.tags("histograms") >= HISTOGRAMS - {"latent/kl"} and "latent/kl" not in log.tags("histograms")
    assert "KL: left out" in log.values("latent/units")[0].item().decode()
    expected = in_levels(vae.reconstruct(x[:1])[0])
    np.testing.assert_allclose(
        tile(log.pictures("pictures/reconstructions")[0], 1, 0).astype(int), expected.astype(int), atol=1
    )


# What is refused, before anything is trained.


def refused(model, x, message, *callbacks, error=ValueError, **kwargs):
    """`fit` raises this, and no step has been made."""
    with pytest.raises(error, match=message):
        fit(model, x, *callbacks, **kwargs)
    assert int(model.optimizer.iterations) == 0


def test_a_model_that_is_no_vae(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    message = r"TensorBoard: expected a model that is a keras_vae\.VAE; received: Sequential"
    refused(model, np.zeros((4, 2)), message, TensorBoard(tmp_path), y=np.zeros((4, 1)))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"examples": np.zeros((4, 7, 7, 1))}, r"TensorBoard: of `examples`: .*\(8, 8, 1\).*\(7, 7, 1\)"),
        (
            {"examples": digits()[:0]},
            r"TensorBoard: expected `examples` to .* at least one; .*\(0, 8, 8, 1\)",
        ),
        ({"examples": {"a": digits()[:2]}}, "TensorBoard: expected `examples` of the structure of x, .*'a'"),
        ({"examples": digits()[:2].tolist()}, "`examples` to be an array, or a structure of arrays; received a list"),
        ({"labels": [1, 2, 3]}, r"TensorBoard: expected a label for each of the 64 examples; .*\(3,\)"),
        ({"labels": np.zeros((64, 10))}, r"TensorBoard: expected a label for each of the 64 examples; .*\(64, 10\)"),
        ({"examples": digits()[:4], "labels": range(64)}, r"a label for each of the 4 examples; .*\(64,\)"),
        ({"shape": (7, 9, 1)}, r"expected `shape` to have the elements of an example, 64 .*\(7, 9, 1\)"),
    ],
    ids=[
        "shape",
        "none",
        "parts",
        "lists",
        "few labels",
        "rows of labels",
        "labels of others",
        "seen in another shape",
    ],
)
def test_what_does_not_fit(tmp_path, given, message):
    refused(small_vae(), digits()[:64], message, TensorBoard(tmp_path, **given))


@pytest.mark.parametrize("below", ["", "below"])
def test_a_folder_that_is_a_file(tmp_path, below):
    path = tmp_path / "file"
    path.write_text("mine")
    message = f"TensorBoard: expected `log_dir` to be a folder that can be written; received: '{path / below}'"
    refused(small_vae(), digits()[:64], message, TensorBoard(path / below))
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"vae_freq": -1}, "TensorBoard.*`vae_freq`.*-1"),
        ({"vae_freq": 1.5}, "TensorBoard.*`vae_freq`.*1.5"),
        ({"hparams": ["width"]}, r"TensorBoard: expected `hparams` to be a dictionary.*received: \['width'\]"),
        (
            {"hparams": {"width": [16]}},
            "TensorBoard: expected `hparams` to be a dictionary of names to numbers and words",
        ),
        ({"hparams": {16: "width"}}, "TensorBoard: expected `hparams` to be a dictionary of names"),
    ],
)
def test_arguments(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        TensorBoard(tmp_path, **given)


def without(monkeypatch, package):
    """Until the test ends, the package cannot be found, nor imported."""
    for name in [*sys.modules, package]:
        if name == package or name.startswith(f"{package}."):
            monkeypatch.setitem(sys.modules, name, None)


def test_without_tensorboard(tmp_path, monkeypatch):
    without(monkeypatch, "tensorboard")
    with pytest.raises(ImportError, match=r'not installed.*pip install "keras_vae\[tensorboard\]"'):
        TensorBoard(tmp_path)


def test_without_matplotlib(tmp_path, monkeypatch):
    without(monkeypatch, "matplotlib")
    vae, x = compiled(gaussian_vae((5,), latent=2)), np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    message = r'expected matplotlib.*not installed.*pip install "keras_vae\[pictures\]"'
    refused(vae, x, message, TensorBoard(tmp_path), error=ImportError)


# What goes wrong while it trains, and does not stop it.


def test_a_failure_is_a_warning(tmp_path, monkeypatch):
    def draw(self, latents):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Views, "draw", draw)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watchers = TensorBoard(tmp_path), Gallery(tmp_path / "gallery")
        history = fit(small_vae(), digits()[:32], *watchers, epochs=3).history
    tried = {"TensorBoard": "look at the examples after epoch", "Gallery": "draw the pictures of epoch"}
    for owner, what in tried.items():
        assert [str(each.message) for each in caught if owner in str(each.message)] == [
            f"{owner}: could not {what} {epoch}: OSError: [Errno 28] No space left on device. Training goes on."
            for epoch in (1, 2, 3)
        ]
    assert len(history["elbo"]) == 3
    assert Log(tmp_path).steps("epoch_bits_per_dimension") == [0, 1, 2]


SCRIPT = """
    import resource, signal, sys
    sys.path.insert(0, {tests!r})
    from small import digits
    from watched import fit, small_vae
    from keras_vae.callbacks import Gallery, TensorBoard

    vae = small_vae()
    vae.build((None, 8, 8, 1))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    watchers = TensorBoard({folder!r} + "/log"), Gallery({folder!r} + "/gallery")
    history = fit(vae, digits()[:64], *watchers, epochs=3, validation_data=(digits()[64:128],))
    print("epochs:", len(history.history["val_elbo"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="files have no limits")
@pytest.mark.parametrize("limit", [0, 1000, 20000])
def test_a_full_disk(tmp_path, limit):
    """Files that cannot grow stand for it; where nothing at all can be written, that is said at the start."""
    tests = str(pathlib.Path(__file__).parents[1])
    script = textwrap.dedent(SCRIPT).format(tests=tests, limit=limit, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    if limit == 0:
        assert re.search(r"ValueError: TensorBoard: expected `log_dir` .* written; .*: File too large", done.stderr)
        return
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "epochs: 3"
    for owner in ("TensorBoard", "Gallery"):
        assert re.search(rf"RuntimeWarning: {owner}: could not [^~]*?\. Training goes on\.", done.stderr), done.stderr


# Of several workers, one writes.


def test_only_the_chief_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_vae.backend, "is_chief", lambda strategy: False)
    callback = TensorBoard(tmp_path / "log", histogram_freq=1, update_freq=1, embeddings_freq=1, profile_batch=(1, 2))
    watchers, data = (callback, Gallery(tmp_path / "gallery")), {"validation_data": (digits()[64:128],)}
    history = fit(small_vae(), digits()[:64], *watchers, epochs=2, **data).history
    assert len(history["val_elbo"]) == 2
    assert list(tmp_path.iterdir()) == []
