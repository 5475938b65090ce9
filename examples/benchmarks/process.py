"""The command's end of a worker: starts the process, asks, and hears the answer."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import workloads

# Several contestants hold the accelerator at once, so none may take all of its memory; and quiet logs.
ENVIRONMENT = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Failed(Exception):
    """A worker died; the message is the last thing that it said."""


class Process:
    """A program that answers a line of JSON with a line of JSON.

    Args:
        script: its file, in this folder.
        **arguments: what it is told at its start.
    """

    def __init__(self, script, **arguments):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__).with_name(script), json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**ENVIRONMENT, **os.environ},
            text=True,
        )

    def ask(self, do, **arguments):
        """The answer to a command, a dictionary.

        Raises:
            Failed: the process died of it.
        """
        with contextlib.suppress(BrokenPipeError):  # the missing answer tells
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            said = [line.strip() for line in self._errors if line.strip()]
            raise Failed(f"{do}: {said[-1] if said else f'exit status {self._process.returncode}'}")
        return json.loads(answer)

    def close(self):
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def worker(contestant, workload, folder, seed):
    """A contestant's process."""
    return Process(
        "worker.py", contestant=contestant, workload=workloads.to_dict(workload), folder=str(folder), seed=seed
    )
