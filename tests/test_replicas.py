"""Several devices: runs `processes/two_devices.py` in a process of its own, with two logical CPUs."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent / "processes"


@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_two_devices(marked):
    command = [sys.executable, "-P", "-m", "pytest", "-n", "0", "-q", "-m", marked, "two_devices.py"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
