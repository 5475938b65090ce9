"""The README's first code block, as a newcomer would paste it."""

import pathlib
import re
import subprocess
import sys

import keras

import keras_vae  # noqa: F401  (registers its classes)

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_first_code_block_runs_as_it_stands(tmp_path):
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.S).group(1)
    script = tmp_path / "pasted.py"
    script.write_text(block)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'elbo': " in done.stdout
    assert (tmp_path / "vae.keras").exists()
    assert keras.saving.load_model(tmp_path / "vae.keras").generate(2).shape == (2, 8, 8, 1)
