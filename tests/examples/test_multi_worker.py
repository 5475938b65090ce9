"""The recipe for several machines, as a user starts it."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import pytest

import keras_vae

SCRIPT = pathlib.Path(__file__).parents[2] / "examples/multi_worker.py"
CLUSTER = {"worker": ["localhost:1", "localhost:2"]}


def run(*args, tf_config=None):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    environment |= {} if tf_config is None else {"TF_CONFIG": tf_config}
    command = [sys.executable, "-P", SCRIPT, *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_without_a_place_in_a_cluster_it_says_what_is_expected():
    done = run()
    assert done.returncode == 1
    assert "expected the environment variable TF_CONFIG" in done.stderr and "received: none" in done.stderr
    assert "multi_worker.py --local 2" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", [{"type": "worker", "index": 2}, {"type": "chief", "index": 0}, {}])
def test_a_place_that_is_none_is_shown(task):
    given = json.dumps({"cluster": CLUSTER, "task": task})
    done = run(tf_config=given)
    assert done.returncode == 1 and f"received: {given}" in done.stderr


@pytest.mark.slow
def test_two_local_workers_train_and_after_a_kill_resume(tmp_path):
    """One is killed in the second epoch, and what comes after is not the first again."""
    command = [sys.executable, "-P", SCRIPT, "--local", "2", "--epochs", "3"]
    command += ["--backup", tmp_path / "backup", "--out", tmp_path / "out/vae.keras"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    killed, lines = False, []
    try:
        signal.signal(signal.SIGALRM, lambda *_: process.send_signal(signal.SIGINT))
        signal.alarm(240)
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Epoch 2/") and not killed:
                started = next(each for each in lines if each.startswith("Started workers"))
                os.kill(int(started.split()[-1]), signal.SIGKILL)
                killed = True
        assert process.wait(60) == 0, "".join(lines)
    finally:
        signal.alarm(0)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # at which it kills its workers
            process.wait(60)
    assert killed and "".join(lines).count("Epoch 1/3") == 1
    assert any("Starting all again" in line for line in lines) and "2 replicas; test ELBO" in lines[-1]
    assert not (tmp_path / "backup").exists()
    vae = keras.saving.load_model(tmp_path / "out/vae.keras")
    assert isinstance(vae, keras_vae.VAE) and vae.generate(2).shape == (2, 8, 8, 1)
