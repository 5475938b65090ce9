"""The shape of the house: which way the imports run, which files know TensorFlow, what is public, what is shipped."""

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys
import zipfile

import keras
import pytest

import keras_vae
import keras_vae.wrappers
from keras_vae.backend import tfd

ROOT = pathlib.Path(__file__).parents[1]

# A room may import from the rooms that it names.
ARROWS = {
    "version": set(),
    "checks": set(),
    "compat": set(),
    "pictures": set(),
    "reprs": set(),
    "backend": {"checks", "compat"},
    "sums": {"backend", "compat"},
    "ops": {"sums", "backend"},
    "estimates": {"backend"},
    "data": {"estimates", "backend"},
    "scales": {"ops", "checks", "reprs"},
    "layers": {"scales", "data", "ops", "estimates", "backend", "checks", "compat"},
    "priors": {"layers", "backend", "checks", "reprs"},
    "schedules": {"checks", "reprs"},
    "objectives": {"schedules", "layers", "ops", "estimates", "backend", "checks", "reprs", "compat"},
    "optimizers": set(),
    "engine": {"optimizers", "data", "backend", "checks", "compat"},
    "evaluation": {"engine", "layers", "data", "estimates", "backend", "checks", "compat"},
    "building": {"objectives", "layers", "data", "backend", "compat"},
    "terms": {"building", "layers", "objectives", "optimizers", "data", "backend", "compat"},
    "compiling": {"terms", "engine", "optimizers", "checks"},
    "noise": {"backend"},
    "trainer": {"compiling", "building", "engine", "data", "checks", "compat"},
    "inference": {"trainer", "evaluation"},
    "signatures": {"evaluation", "objectives", "layers", "data", "estimates", "backend"},
    "export": {"signatures", "layers", "backend", "compat"},
    "persistence": {"export", "objectives", "version", "compat"},
    "adapting": {"layers", "data", "checks"},
    "vae": {
        *("adapting", "inference", "persistence", "noise", "engine", "priors", "objectives"),
        *("layers", "data", "estimates", "backend", "checks"),
    },
    "callbacks": {
        *("vae", "pictures", "evaluation", "objectives", "layers", "engine", "data"),
        *("optimizers", "estimates", "backend", "checks", "compat", "reprs"),
    },
    "wrappers": {"vae", "evaluation", "objectives", "layers", "scales", "checks"},
}

# Where TensorFlow is named: files, or whole rooms.
KNOW_TENSORFLOW = {
    "backend",
    "compat",
    "sums",
    "export",
    "engine",
    "callbacks",
    "data/kinds",
    "data/dataset_check",
    "data/sparse_rows",
}

# `_replace` and the like are public: of a NamedTuple.
NAMED_TUPLE = {"_replace", "_asdict", "_fields"}


def sources():
    return [path for folder in ("keras_vae", "ops") for path in (ROOT / folder).rglob("*.py")]


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "ops" if parts[0] == "ops" else parts[1]


def imports(path):
    """Full names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    "path", [path for path in sources() if room_of(path) != "__init__"], ids=lambda path: path.name
)
def test_arrows_run_one_way(path):
    room = room_of(path)
    reached = {name.split(".")[1] for name in imports(path) if name.startswith("keras_vae.")}
    assert reached - {room} <= ARROWS[room], f"{path.relative_to(ROOT)} reaches {reached - {room} - ARROWS[room]}"


def test_the_arrows_have_no_cycle():
    placed = set()
    while len(placed) < len(ARROWS):
        ready = {room for room, reached in ARROWS.items() if room not in placed and reached <= placed}
        assert ready, f"a cycle among {set(ARROWS) - placed}"
        placed |= ready


def test_tensorflow_is_named_in_few_files():
    naming = [path for path in sources() if any(re.match(r"tensorflow|tf_keras", name) for name in imports(path))]
    named = {path.relative_to(ROOT / "keras_vae").with_suffix("") for path in naming}
    assert {str(path) for path in named if path.parts[0] not in KNOW_TENSORFLOW} <= KNOW_TENSORFLOW


def test_scikit_learn_is_named_in_the_wrappers_alone():
    """And no other room imports these: so `import keras_vae` needs no scikit-learn."""
    optional = ("sklearn", "keras_vae.wrappers")
    naming = {room_of(path) for path in sources() if any(name.startswith(optional) for name in imports(path))}
    assert naming == {"wrappers"}


def classes():
    """Every class of the library, those that are not public among them."""
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("keras_vae", *parts) if parts[0] == "ops" else parts).removesuffix(".__init__")
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and value.__module__ == name:
                yield value


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_private_names_of_other_packages_are_named_in_compat_alone():
    """No attribute of another's that begins with an underscore, no module of Keras's source, no raw operation."""
    trees = {path: ast.parse(path.read_text()) for path in sources() if path.name != "compat.py"}
    ours = set(NAMED_TUPLE)
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            ours.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            ours.add(node.attr)
    for path, tree in trees.items():
        found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)}
        assert found <= ours, f"{path.name} names {found - ours}"
        assert not [name for name in imports(path) if name.startswith("keras.src")], path.name
        assert "raw_ops" not in path.read_text(), path.name


def test_private_methods_of_other_packages_are_overridden_in_compat_alone():
    """But for those of TFP's distributions, which its guide to subclassing asks for."""
    for cls in classes():
        if cls.__module__ == "keras_vae.compat" or issubclass(cls, tfd.Distribution):
            continue
        others = [base for base in cls.__mro__ if not base.__module__.startswith("keras_vae")]
        # What Python itself puts on an abstract or a named class is no one's, nor what scikit-learn puts on a subclass.
        taken = {name for base in others for name in vars(base) if is_private(name)} - NAMED_TUPLE
        overridden = {
            name
            for name in vars(cls)
            if is_private(name) and not name.startswith(("_abc_", "_tf_", "_fields", "_sklearn_"))
        }
        assert not taken & overridden, f"{cls.__module__}.{cls.__name__} overrides {taken & overridden}"


def test_files_are_short():
    lines = sorted(len(path.read_text().splitlines()) for path in sources())
    assert lines[-1] <= 300 and lines[len(lines) // 2] <= 150
    assert len((ROOT / "keras_vae/vae.py").read_text().splitlines()) <= 200


@pytest.mark.parametrize(
    "module",
    [
        keras_vae,
        keras_vae.layers,
        keras_vae.scales,
        keras_vae.schedules,
        keras_vae.priors,
        keras_vae.objectives,
        keras_vae.optimizers,
        keras_vae.objectives.kernels,
        keras_vae.ops,
        keras_vae.callbacks,
        keras_vae.evaluation,
        keras_vae.wrappers,
    ],
)
def test_what_is_public_exists_and_is_documented(module):
    for name in module.__all__:
        value = getattr(module, name)
        assert isinstance(value, str) or value.__doc__, f"{module.__name__}.{name} has no docstring"
    assert dir(module) == sorted(module.__all__)  # and what is not for users does not look as if it were


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_an_editor_shows_keras_s_arguments(method):
    """All of Keras's, in order and with its defaults; and `check_data`."""
    ours, keras_s = (inspect.signature(getattr(cls, method)).parameters for cls in (keras_vae.VAE, keras.Model))
    added = [parameter for name, parameter in ours.items() if name not in keras_s]
    assert [parameter.name for parameter in added] == ([] if method == "predict" else ["check_data"])
    shared = [parameter for parameter in ours.values() if parameter not in added]
    assert [(each.name, each.default) for each in shared] == [(each.name, each.default) for each in keras_s.values()]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (keras_vae.objectives.ELBO(beta=0.5), "ELBO(num_samples=1, beta=0.5, kl='auto', gradient='plain')"),
        (keras_vae.scales.Shared(initial=0.3), "Shared(floor=0.001, initial=0.3, axis=None)"),
        (keras_vae.scales.Fixed(2), "Fixed(value=2.0)"),
        (keras_vae.priors.StandardNormal(3), "StandardNormal(event_shape=(3,))"),
        (
            keras_vae.objectives.ELBO(keras.optimizers.schedules.PolynomialDecay(0.0, 50)),
            "ELBO(num_samples=1, beta=PolynomialDecay(initial_learning_rate=0.0, decay_steps=50, ",
        ),
    ],
)
def test_objectives_scales_and_priors_show_what_they_are(value, shown):
    assert repr(value).startswith(shown)


def test_it_is_the_installed_package_that_is_tested():
    """`make test` tests what a user would install, not the source tree."""
    assert importlib.metadata.version("keras_vae") == keras_vae.__version__
    if not (ROOT / ".venv").exists() or not sys.prefix.startswith(str(ROOT)):
        pytest.skip("not run by make test")
    assert "site-packages" in keras_vae.__file__ and "site-packages" in keras_vae.ops.__file__


def test_another_backend_is_refused_by_name(monkeypatch):
    """By the module that all others import before they use a backend's own functions."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    spec = importlib.util.find_spec("keras_vae.backend")
    with pytest.raises(ImportError, match="Expected KERAS_BACKEND=tensorflow; received KERAS_BACKEND=jax"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.slow
def test_a_process_with_another_backend_ends_with_that_word():
    code = "import keras; keras.backend.backend = lambda: 'jax'; import keras_vae"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Expected KERAS_BACKEND=tensorflow; received KERAS_BACKEND=jax" in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "keras_vae", "ops"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for name in [*listed, "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        if (ROOT / name).exists():
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "tree" / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, folder / "tree"], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert top == {"keras_vae", f"keras_vae-{keras_vae.__version__}.dist-info"}
    shipped = {name for name in names if name.endswith(".py")}
    assert shipped == {
        f"keras_vae/{path.relative_to(ROOT)}" if room_of(path) == "ops" else str(path.relative_to(ROOT))
        for path in sources()
    }


def test_the_wheel_imports_from_another_directory(wheel, tmp_path):
    """Unpacked where nothing else of the project is, with the dependencies of this environment."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import keras_vae, keras_vae.ops, importlib.util; "
        "print(keras_vae.__file__, keras_vae.ops.__file__); assert not importlib.util.find_spec('ops')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(file.startswith(str(site)) for file in done.stdout.split())


IMPORTED = """
import sys, keras, tensorflow_probability
tensorflow_probability.distributions
before = set(sys.modules)
import keras_vae.ops
print(keras_vae.__file__, keras_vae.ops.__file__)
print({"matplotlib", "sklearn", "scipy", "tensorboard"} & (set(sys.modules) - before))
"""


def test_a_script_in_the_clone_s_root_finds_the_ops_and_brings_in_no_plotting(tmp_path):
    """There the source tree comes before the installed package, and `ops` stands beside it, not in it.

    No plotting and no TensorBoard, that is, that Keras and TFP do not import themselves.
    """
    for name in ("keras_vae", "ops"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "script.py").write_text(IMPORTED)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    files, brought_in = done.stdout.splitlines()
    assert files.split() == [str(tmp_path / "keras_vae/__init__.py"), str(tmp_path / "ops/__init__.py")]
    assert brought_in == "set()"
