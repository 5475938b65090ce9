"""The benchmark, run as a person runs it, as small as it goes; and what its referee and its floor say."""

import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "benchmarks"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """An MNIST of noise."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0).integers(0, 256, (1600, 28, 28), dtype="uint8")
    np.savez(folder / "mnist.npz", x_train=pixels[:600], x_test=pixels[600:])
    return folder


@pytest.fixture
def module(monkeypatch):
    """Imports a module of the benchmark by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("workloads", "data", "floor", "match", "process", "serving", "contestants"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, FOLDER / "run.py", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_one_workload(tmp_path, data_dir):
    arguments = ["--quick", "--workloads", "mlp", "frey", "--contestants", "keras_vae", "--rounds", 1, "--scaling"]
    done = run(*arguments, "--data-dir", data_dir, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| keras_vae, vae.fit(x) |" in done.stdout
    assert "Left out: needs the Frey Face video frames" in done.stdout

    results = json.loads((tmp_path / "benchmarks.json").read_text())
    match = results["workloads"]["mlp"]
    ours = match["contestants"]["keras_vae"]
    assert ours["status"] == "ok"
    assert ours["images_per_s"] > 0
    assert ours["first_step_s"] > 0
    assert ours["peak_mb"] > ours["start_peak_mb"] > 0
    assert len(ours["waits_s"]) == match["effort"]["epochs"]
    assert ours["nats"] < 0
    assert 0 < ours["images_per_s"] < match["floor"]["images_per_s"]
    assert match["floor"]["copy_gb_per_s"] > 0
    assert "missing" in results["workloads"]["frey"]
    assert (tmp_path / "benchmarks.png").stat().st_size > 5_000


def test_bad_arguments(tmp_path):
    done = run("--rounds", 0, "--out", tmp_path)
    assert done.returncode == 2
    assert "--rounds: expected an integer of at least 1; received: 0" in done.stderr


def test_who_computed_something_else_is_void(module):
    referee = module("match").referee
    results = {name: {"status": "ok", "nats": nats} for name, nats in {"a": -100.0, "b": -100.4, "c": -103.0}.items()}
    results["nan"] = {"status": "ok", "nats": float("nan")}
    results["failed"] = {"status": "failed"}
    referee(results, tolerance=1.0)
    assert [result["status"] for result in results.values()] == ["ok", "ok", "void", "void", "failed"]
    assert "-103.00 nats, more than 1 from the median -100.40" in results["c"]["reason"]


def test_the_floor_counts_every_product(module):
    """By hand: multiplications of the two networks forward, twice that backward, less the gradient for the data."""
    workloads, floor = module("workloads").WORKLOADS, module("floor")
    forward = 784 * 500 + 500 * 40 + 20 * 500 + 500 * 784
    assert floor.operations(workloads["mlp"]) == 2 * (3 * forward - 784 * 500)
    assert floor.operations(workloads["log_p"]) == 2 * 5000 * (20 * 500 + 500 * 784)
    encoder = 14 * 14 * 9 * 32 + 7 * 7 * 9 * 32 * 64 + 7 * 7 * 64 * 16 + 16 * 4
    decoder = 2 * 7 * 7 * 64 + 7 * 7 * 64 * 9 * 64 + 14 * 14 * 64 * 9 * 32 + 28 * 28 * 32 * 9
    assert floor.operations(workloads["conv"]) == 2 * (3 * (encoder + decoder) - 14 * 14 * 9 * 32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras_vae", "keras_custom_step", "keras_tfp", "tf_keras_tfp", "pytorch", "jax_scan"])
def test_who_trains_the_iwae_bound_means_importance_samples(module, name):
    """The bound of 50 draws is the estimate of log p(x) by 50 importance samples, which each contestant has apart.

    Both are means over 400 images. Over draws their standard deviation is 0.08 nats after an epoch, and the ELBO
    of the same model lies 29 or more below (measured).
    """
    workloads, contestants = module("workloads").WORKLOADS, module("contestants").CONTESTANTS
    if reason := contestants[name].missing():
        pytest.skip(reason)
    workload = dataclasses.replace(workloads["samples"], importance_samples=workloads["samples"].num_samples)
    assert workload.objective == "iwae"
    images = np.random.default_rng(0).uniform(size=(400, 784)).astype("float32") ** 8
    contestant = contestants[name].build(workload, images, seed=0)
    contestant.first_step()
    contestant.train(1)
    assert abs(contestant.bound(images) - contestant.log_likelihood(images)) < 1.0


def test_workloads_cross_to_another_process(module):
    workloads = module("workloads")
    for workload in workloads.WORKLOADS.values():
        assert workloads.from_dict(json.loads(json.dumps(workloads.to_dict(workload)))) == workload


def test_a_contestant_that_dies_says_why(module, tmp_path):
    process = module("process")
    worker = process.worker("keras_vae", module("workloads").WORKLOADS["mlp"], tmp_path, seed=0)
    try:
        with pytest.raises(process.Failed, match=r"start: FileNotFoundError.*train\.npy"):
            worker.ask("start")
    finally:
        worker.close()
