"""The anomaly example in small: what is scored, and by whom; what is said and drawn; and what stops it."""

import ast
import importlib.util
import inspect
import re
import types

import numpy as np
import pytest
from matplotlib.image import imread
from scripts import module_of
from sklearn.datasets import load_digits

SCORES = ["log p(x)", "ELBO", "squared error"]


@pytest.fixture
def example(monkeypatch):
    """The script as a module, which trains on each image once an epoch."""
    module = module_of("anomaly_detection")
    monkeypatch.setattr(module, "COPIES", dict.fromkeys(module.COPIES, 1))
    return module


def serve(*arguments):
    """Stands in for the script's own in another process, which fails."""
    raise OSError("no such model")


def printed_areas(output):
    """The AUROC and its standard error by other digit, `[3, 2]`: of each score."""
    rows = re.findall(r"^  (all|\d) +([\d,]+)((?: +\d\.\d{4} ± \S+){3})$", output, re.M)
    return {name: (int(number.replace(",", "")), numbers_of(cells)) for name, number, cells in rows}


def numbers_of(cells):
    return np.array([float(each) for each in cells.replace("±", "").split()]).reshape(3, 2)


def test_a_small_run(example, tmp_path, capfd):
    folder = tmp_path / "made" / "here"
    example.main(["--epochs", "2", "--num-samples", "3", "--digit", "0", "--out", str(folder)])
    output = capfd.readouterr().out
    assert "The best, " in output
    (absent,) = re.findall(r"imported: tensorflow \S+, numpy \S+; not (.*)", output)
    assert {"keras_vae", "keras", "tensorflow_probability"} <= set(absent.split(", "))
    assert "'score'" in output and "1,679 images scored" in output
    assert "60 held-out\nimages of 0" in output
    (heads,) = re.findall(r"^  other digit +images +(.*)$", output, re.M)
    assert re.split(r"  +", heads) == SCORES

    areas = printed_areas(output)
    numbers = {str(digit): (load_digits().target == digit).sum() for digit in range(1, 10)}
    assert {name: number for name, (number, _) in areas.items()} == {"all": 1619, **numbers}
    for _, found in areas.values():
        assert ((found[:, 0] > 0) & (found[:, 0] <= 1)).all()
        assert (found[:, 1] < 0.15).all()
    # Two epochs of each image once: what sets a zero apart, which is its empty middle, is learned at once.
    assert (areas["all"][1][:, 0] > 0.6).all()
    # Of all other images together, the mean over digits.
    weights = [numbers[name] for name in numbers]
    mean = np.average([areas[name][1][:, 0] for name in numbers], axis=0, weights=weights)
    np.testing.assert_allclose(areas["all"][1][:, 0], mean, atol=1.1e-4)

    assert (folder / "served/vae/1/saved_model.pb").is_file()
    for name in ("roc.png", "strangest.png"):
        assert f"  {folder / name}" in output.splitlines()
        picture = imread(folder / name)[..., :3]
        height, width, _ = picture.shape
        assert 400 <= height <= 1200 and 1000 <= width <= 1600, name
        assert picture.std() > 0.05, f"{name} is all but blank"
        assert len(np.unique(picture)) > 50, f"{name} has no shades"


def test_the_other_process_imports_nothing_of_ours(example):
    tree = ast.parse(inspect.getsource(example.serve))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert sorted(names) == ["numpy", "os", "sys", "tensorflow"]
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_a_failure_of_the_other_process_stops_the_script(example, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(example, "serve", serve)
    with pytest.raises(SystemExit, match="the process that loads the exported model failed; see above"):
        example.score_elsewhere(tmp_path, np.zeros((2, 8, 8, 1), "float32"), 1, 0)
    assert "no such model" in capfd.readouterr().err


def test_auroc_and_its_standard_error(example):
    rng = np.random.default_rng(0)
    is_strange = np.arange(100) < 60

    def draw():
        return np.round(rng.normal(size=100) + is_strange, 1)  # rounded: some are equal

    strangeness = draw()
    strange, normal = strangeness[is_strange], strangeness[~is_strange]
    pairs = [(one > other) + 0.5 * (one == other) for one in strange for other in normal]
    area, _ = example.auroc(is_strange, strangeness)
    assert area == pytest.approx(np.mean(pairs), abs=1e-12)

    areas, errors = np.transpose([example.auroc(is_strange, draw()) for _ in range(500)])
    # A standard deviation of 500 draws is itself off by 3.2%: six times that, a false alarm in 5e8 runs.
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(areas.std(), rel=0.19)


def test_digits_are_split_and_no_image_is_in_two_parts(example, monkeypatch):
    monkeypatch.setitem(example.COPIES, "digits", 2)
    data = example.load(types.SimpleNamespace(data="digits", digit=3, seed=1, data_dir=None))
    levels = {part: np.floor(getattr(data, part)[..., 0] * 17) for part in ("train", "validation", "test")}
    images, labels = load_digits().images, load_digits().target
    threes = levels["test"][data.test_labels == 3]
    assert [len(each) for each in (threes, levels["validation"], levels["train"])] == [61, 2 * 13, 2 * 109]
    unique = np.concatenate([threes, levels["validation"][::2], levels["train"][::2]])
    for found, expected in (
        (unique, images[labels == 3]),
        (levels["test"][data.test_labels != 3], images[labels != 3]),
    ):
        rows, others = (each.reshape(len(each), -1) for each in (found, expected))
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], others[np.lexsort(others.T)])
    noise = data.train * 17 - levels["train"][..., np.newaxis]
    assert 0 <= noise.min() < 0.01 < 0.99 < noise.max() <= 1
    assert np.abs(noise[::2] - noise[1::2]).mean() > 0.3, "each copy has noise of its own"


def mnist(**changed):
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype="uint8") % 10
    images = rng.integers(0, 256, (40, 28, 28), "uint8")
    return {"x_train": images, "y_train": labels, "x_test": images[:20], "y_test": labels[:20], **changed}


def arguments(folder, digit=4):
    return types.SimpleNamespace(data="mnist", digit=digit, seed=0, data_dir=folder)


def test_mnist_from_a_folder(example, tmp_path):
    np.savez(tmp_path / "mnist.npz", **mnist())
    data = example.load(arguments(tmp_path))
    assert [len(each) for each in data] == [3, 1, 20, 20]
    found = np.concatenate([data.validation, data.train])[..., 0] * 256
    np.testing.assert_array_equal(
        np.sort(np.floor(found).sum((1, 2))), np.sort(mnist()["x_train"][4::10].sum((1, 2), dtype="float64"))
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, r"no MNIST to train on: .*No such file.*mnist\.npz(.|\n)*--data mnist --data-dir FOLDER"),
        ({"x_train": np.zeros((5, 28, 28), "uint8")}, "y_train is not a file in the archive"),
        (mnist(x_train=np.zeros((40, 784))), r"expected uint8 \[N, height, width\]; received float64 \[40, 784\]"),
        (mnist(y_test=np.zeros(20, "uint8")), "expected MNIST with images of 4 and of others; received too few"),
        (mnist(y_test=np.full(20, 4, "uint8")), "expected MNIST with images of 4 and of others; received too few"),
    ],
)
def test_mnist_that_is_not_there(example, tmp_path, arrays, message):
    if arrays:
        np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        example.load(arguments(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--digit", "10"], "--digit: expected an integer from 0 to 9; received: 10"),
        (["--epochs", "0"], "--epochs: expected an integer from 1 to 2**31 - 1; received: 0"),
        (["--num-samples", "0"], "--num-samples: expected an integer from 1 to 2**31 - 1; received: 0"),
        (["--seed", "-1"], "--seed: expected an integer from 0 to 2**31 - 1; received: -1"),
        (["--data", "cifar"], "--data: invalid choice: 'cifar'"),
        (["--data-dir", "."], "--data-dir: expected only with --data mnist"),
        (["--out", __file__], "--out: cannot make the folder"),
    ],
)
def test_bad_arguments(example, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        example.parse_arguments(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "stopped before any work"


def test_each_export_is_a_version_of_its_own(example, tmp_path):
    assert example.next_version(tmp_path).name == "1"
    for name in ("2", "10", "3.txt", "old"):
        (tmp_path / name).mkdir()
    assert example.next_version(tmp_path).name == "11"


def test_missing_packages(example, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        example.parse_arguments(["--out", str(tmp_path / "out")])
    assert 'pip install "keras_vae[examples]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
