"""Several machines: two processes on loopback train as one alone does, and resume when one of them was killed."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
LIMIT = 240  # seconds, for whatever is waited for


def free_ports(num):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def workers(num, folder, *args):
    """As many processes of `worker.py`, killed on the way out; alone, one has no cluster. Worker i writes `i.json`."""
    addresses = [f"localhost:{port}" for port in free_ports(num)]
    processes = []
    try:
        for index in range(num):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            environment |= {"TF_CONFIG": json.dumps(task)} if num > 1 else {}
            command = [sys.executable, HERE / "processes/worker.py", folder / f"{index}.json", *args]
            with (folder / f"{index}.log").open("a") as log:
                processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait(LIMIT)


def results(num, folder, *args):
    """What each worker found, once all are done."""
    folder.mkdir(exist_ok=True)
    with workers(num, folder, *args) as processes:
        for index, process in enumerate(processes):
            status = process.wait(LIMIT)
            assert status == 0, (folder / f"{index}.log").read_text()[-4000:]
    return [json.loads((folder / f"{index}.json").read_text()) for index in range(num)]


def wait_until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited {LIMIT} seconds in vain"
        time.sleep(0.1)


@pytest.mark.slow
def test_two_workers_train_as_one_process_does(tmp_path):
    """Equal in every bit on both workers; equal to rounding to one alone. Batches of 16, 16, 16 and 5 rows."""
    first, second = results(2, tmp_path / "two")
    (alone,) = results(1, tmp_path / "one")
    assert first == second
    for name, curve in alone["history"].items():
        np.testing.assert_allclose(first["history"][name], curve, rtol=1e-5, err_msg=name)
    for weight, expected in zip(first["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-4, atol=2e-6)
    for name, value in alone["evaluate"].items():
        np.testing.assert_allclose(first["evaluate"][name], value, rtol=1e-5, err_msg=name)
    for name in ("predict", "log_likelihood", "generate"):
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_worker_killed_and_restarted_resumes_where_the_backup_is(tmp_path):
    """The epochs after the backup are those of a run that nothing interrupted, to the last bit."""
    (tmp_path / "cut").mkdir()
    backup = tmp_path / "backup"
    metadata = backup / "training_metadata.json"
    with workers(2, tmp_path / "cut", "1000", backup) as (_, second):
        wait_until(lambda: metadata.exists() or second.poll() is not None)
        os.kill(second.pid, signal.SIGKILL)
        assert second.wait(LIMIT) == -signal.SIGKILL, (tmp_path / "cut/1.log").read_text()[-4000:]
        time.sleep(0.5)  # for the other to finish writing, and be stuck
    done = json.loads(metadata.read_text())["epoch"]
    epochs = str(done + 2)
    first, second = results(2, tmp_path / "cut", epochs, backup)
    whole, _ = results(2, tmp_path / "whole", epochs, tmp_path / "other backup")
    assert first == second
    assert first["epochs"] == [done, done + 1] and len(whole["epochs"]) == done + 2
    for name, curve in whole["history"].items():
        assert first["history"][name] == curve[-2:], name
    assert first["weights"] == whole["weights"]
