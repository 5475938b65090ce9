"""The docstrings: their usage blocks run as they stand, and their sentences are short."""

import ast
import builtins
import functools
import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow_probability as tfp
from keras import layers, ops

import keras_vae
import keras_vae.wrappers

ROOT = pathlib.Path(__file__).parents[1]

ROOMS = ["keras_vae", "ops"]

MOST_WORDS = 25

SECTION = re.compile(r"(Args|Attributes|Returns|Raises):$")
INDENTED = re.compile(r" {4,}\S")


def sources():
    return sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))


def public():
    """Every public class, and the functions of `keras_vae.evaluation`, by name."""
    found = {}
    rooms = (getattr(keras_vae, name) for name in keras_vae.__all__)
    for module in (keras_vae, *rooms, keras_vae.objectives.kernels, keras_vae.wrappers):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            is_wanted = isinstance(value, type) or (module is keras_vae.evaluation and inspect.isfunction(value))
            if is_wanted:
                found[f"{module.__name__}.{name}"] = value
    return found


def without_sections(docstring):
    """The lines of a docstring but for `Args:` and the like, which end at the next line that is not indented."""
    in_section = False
    for line in inspect.cleandoc(docstring).splitlines():
        if line and not line.startswith(" "):
            in_section = bool(SECTION.match(line))
        if not in_section:
            yield line


def indented_runs(docstring):
    """Runs of lines that are indented by four spaces or more, blank ones inside them included."""
    run = []
    for line in [*without_sections(docstring), "end"]:
        if INDENTED.match(line) or (run and not line):
            run.append(line)
        elif run:
            yield inspect.cleandoc("\n".join(run))
            run = []


def is_code(text, names):
    """Whether a run is Python that imports something or calls something of `names`: no formula such as `y = f(x)`."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return False
    if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes):
        return True
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    return any(isinstance(node, ast.Name) and node.id in names for func in called for node in ast.walk(func))


def usage_blocks(docstring, names):
    return [run for run in indented_runs(docstring) if is_code(run, names)]


def paragraphs(docstring):
    """The prose of a docstring: paragraphs and items of lists, without formulas, code and sections."""
    found = [""]
    for line in without_sections(docstring):
        if not line or INDENTED.match(line) or line.startswith("|"):  # a gap, a formula, or a row of a table
            found.append("")
            continue
        if line.startswith("- "):
            found.append("")
        found[-1] += " " + line.removeprefix("- ")
    return [paragraph.strip() for paragraph in found if paragraph]


def sentences(paragraph):
    """Sentences, in which code and a quoted title count as a word."""
    plain = re.sub(r'`[^`]*`|"[^"]*"', "Code", paragraph)
    return re.split(r"(?<=[.!?])\)? +(?=[A-Z(*])", plain)


def words(sentence):
    return [word for word in sentence.split() if any(letter.isalnum() for letter in word)]


def docstrings(path):
    """`(where, docstring)` of a file, its classes and its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", ast.get_docstring(node)


def violations(paths):
    for path in paths:
        for where, docstring in docstrings(path):
            for index, sentence in enumerate(part for text in paragraphs(docstring) for part in sentences(text)):
                if len(words(sentence)) > MOST_WORDS:
                    yield f"{where}: {len(words(sentence))} words: {sentence}"
                if index == 0 and sentence.startswith("Of "):
                    yield f"{where}: starts with 'Of': {sentence}"


@pytest.fixture(scope="module")
def names():
    """What usage blocks may name without saying where it comes from."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 13)).astype("float32")
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([layers.Dense(8, "relu"), keras_vae.layers.IndependentNormal(4)])
    decoder = keras.Sequential([layers.Dense(8, "relu"), keras_vae.layers.IndependentNormal(13)])
    vae = keras_vae.VAE(encoder, decoder, seed=0)
    vae.compile("adam", jit_compile=False)
    vae.build(x.shape)
    return {
        **{
            "keras": keras,
            "keras_vae": keras_vae,
            "tfp": tfp,
            "np": np,
            "layers": layers,
            "ops": ops,
            "vae": vae,
            "x": x,
        },
        "images": rng.uniform(size=(64, 8, 8, 1)).astype("float32"),
        "counts": rng.poisson(3.0, size=(64, 13)).astype("float32"),
    }


@pytest.mark.parametrize("name", public())
def test_usage_blocks_run(name, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # XLA would take longer to compile than the blocks take to run.
    monkeypatch.setattr(keras_vae.VAE, "compile", functools.partialmethod(keras_vae.VAE.compile, jit_compile=False))
    blocks = usage_blocks(public()[name].__doc__, names)
    assert blocks, f"{name} has no usage block"
    for block in blocks:
        namespace = {**names, "folder": str(tmp_path), "__name__": "a_user_s_module", "__builtins__": builtins}
        exec(compile(block, f"the docstring of {name}", "exec"), namespace)


def test_formulas_are_not_taken_for_code(names):
    formulas = ["sigma^2 = exp(raw) + floor^2", "log p(x) = sum_i f(x_i)", "y = f(x)", "x = mu + F(w)", "b = mean(x)"]
    assert not any(is_code(formula, names) for formula in formulas)
    assert is_code("decoder = keras.Sequential([layers.Dense(2)])", names)
    assert is_code("vae.fit(x)", names)
    docstring = """Does it.

    By a formula,

        y = f(x),

    and in code:

        import keras

        keras.utils.set_random_seed(0)

    Args:
        seed: `keras.utils.set_random_seed(seed)`.
    """
    assert usage_blocks(docstring, names) == ["import keras\n\nkeras.utils.set_random_seed(0)"]
    assert [part for text in paragraphs(docstring) for part in sentences(text)] == [
        *("Does it.", "By a formula,", "and in code:")
    ]


def test_sentences_are_short():
    assert not list(violations(sources()))
