"""Every request and command of examples/serving.md, against the model of the README's quick start, really exported."""

import ast
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "serving.md").read_text()
SIGNATURES = {"reconstruct", "encode", "decode", "generate", "score"}
ELEMENTS, X_SHAPE = "log_prob_of_elements", [1, 8, 8, 1]


def blocks(language, text=PAGE):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def block_with(language, text):
    (block,) = (block for block in blocks(language) if text in block)
    return block


def bash(script, folder):
    """What a script prints; the commands are those beside this Python."""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's first block has run as far as its `fit`, for one epoch, and then the page's."""
    folder = tmp_path_factory.mktemp("quickstart")
    readme = blocks("python", (ROOT / "README.md").read_text())[0]
    trained = readme[: readme.index("\nprint(")].replace("epochs=10", "epochs=1")
    before = pathlib.Path.cwd()
    os.chdir(folder)
    try:
        exec(f"{trained}\n{blocks('python')[0]}", {})
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return tf.saved_model.load(str(folder / "served/vae/1"))


def requests():
    """What each `curl` of the page is given: its address and its body. The shell itself puts them together."""
    script = "".join(block for block in blocks("sh") if "$url" in block or "url=" in block)
    calls = bash(f"curl() {{ printf '%s\\0' \"$@\"; printf '\\n--\\n'; }}\n{script}", folder=ROOT).split("\n--\n")[:-1]
    for call in calls:
        address, option, body, _ = call.split("\0")
        assert option == "-d"
        yield address, json.loads(body)


def as_serving_reads(value, expected):
    """The tensor that TensorFlow Serving makes of a JSON value: of the nesting's shape and the signature's type."""
    leaves = [value]
    while isinstance(leaves[0], list):
        assert len({isinstance(each, list) and len(each) for each in leaves}) == 1, "not a whole array"
        leaves = [leaf for each in leaves for leaf in each]
    # A number with a point is refused for an integer.
    assert all(type(leaf) is int or (expected.dtype.is_floating and type(leaf) is float) for leaf in leaves)
    return tf.constant(value, expected.dtype)


def answer(model, name, tensors):
    """The outputs of a signature, which is given all of its inputs and no other, in their shapes and types."""
    signature = model.signatures[name]
    specs = inputs_of(model, name)
    assert set(tensors) == set(specs)
    for each, spec in specs.items():
        assert tensors[each].dtype == spec.dtype, each
        assert spec.shape.is_compatible_with(tensors[each].shape), each
    outputs = {each: value.numpy() for each, value in signature(**tensors).items()}
    assert all(np.isfinite(value).all() for value in outputs.values())
    return outputs


def inputs_of(model, name):
    return model.signatures[name].structured_input_signature[1]


def test_it_takes_little_more_than_its_weights(folder, model):
    """At most one and a half times as many bytes, and 1 MB."""
    served = folder / "served/vae/1"
    weights = sum(weight.numpy().nbytes for weight in model.variables)
    assert weights == 4 * sum((64 * 256 + 256, 256 * 16 + 16, 8 * 256 + 256, 256 * 64 + 64, 1, 1))
    assert sum(path.stat().st_size for path in served.rglob("*") if path.is_file()) < 1.5 * weights + 2**20


def test_rest_requests(model):
    asked = collections.Counter()
    for address, body in requests():
        assert address == "http://localhost:8501/v1/models/vae:predict"
        name = body.pop("signature_name", "serving_default")
        asked[name] += 1
        expected = inputs_of(model, name)
        if "instances" in body:
            (only,) = expected.items()
            given = {only[0]: as_serving_reads(body.pop("instances"), only[1])}
        else:
            inputs = body.pop("inputs")
            assert set(inputs) == set(expected)
            given = {each: as_serving_reads(value, expected[each]) for each, value in inputs.items()}
        assert not body, "nothing but the inputs and their signature"
        outputs = answer(model, name, given)
        if name != "serving_default":
            said = re.search(rf"\n\*\*{name}\*\*(.*?)```", PAGE, re.S).group(1)
            shape = ast.literal_eval(re.search(r"`(\[[\d, ]+\])`", said).group(1))
            assert all(list(value.shape) == (X_SHAPE if each == ELEMENTS else shape) for each, value in outputs.items())
            if len(outputs) > 1:
                assert set(re.findall(r"`([a-z_]+)`", said)) - {"outputs"} == set(outputs)
        else:
            assert outputs["reconstruction"].shape == (2, 8, 8, 1)
    assert asked == {**dict.fromkeys(SIGNATURES, 1), "serving_default": 1}


def test_rest_image_is_one_of_the_quick_starts(model):
    from sklearn.datasets import load_digits

    body = next(body for _, body in requests() if body["signature_name"] == "score")
    np.testing.assert_array_equal(body["inputs"]["x"], load_digits().images[:1, ..., np.newaxis] / 16)


def test_grpc_requests(model, monkeypatch):
    asked = []

    def predict(request, timeout):
        assert request.model_spec.name == "vae"
        name = request.model_spec.signature_name
        asked.append(name)
        outputs = answer(model, name, {each: tf.constant(tf.make_ndarray(t)) for each, t in request.inputs.items()})
        return types.SimpleNamespace(outputs={each: tf.make_tensor_proto(value) for each, value in outputs.items()})

    def request():
        return types.SimpleNamespace(
            model_spec=types.SimpleNamespace(), inputs=collections.defaultdict(tf.make_tensor_proto(0).__class__)
        )

    addresses = []
    channel = types.SimpleNamespace(insecure_channel=addresses.append)
    stub = types.SimpleNamespace(PredictionServiceStub=lambda channel: types.SimpleNamespace(Predict=predict))
    messages = types.SimpleNamespace(PredictRequest=request)
    apis = types.SimpleNamespace(predict_pb2=messages, prediction_service_pb2_grpc=stub)
    monkeypatch.setitem(sys.modules, "grpc", channel)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", types.SimpleNamespace(apis=apis))
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", apis)
    block = block_with("python", "import grpc")
    found = {}
    exec(block, found)

    assert addresses == ["localhost:8500"]
    assert sorted(asked) == sorted(SIGNATURES)
    said = re.findall(r"^(\w+) = ask\(.*# ([a-z_, ]+) (\[.*\])$", block, re.M)
    assert len(said) == len(SIGNATURES)
    for variable, names, shape in said:
        assert set(names.split(", ")) == set(found[variable])
        shape = ast.literal_eval(shape)
        size = shape.index(...) if ... in shape else None
        assert all(list(value.shape)[:size] == shape[:size] for value in found[variable].values())


def test_the_table_of_signatures(model):
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (.*?) \| (.*?) \|$", PAGE, re.M)
    assert {name for name, _, _ in rows} == SIGNATURES
    assert set(model.signatures) == SIGNATURES | {"serving_default"}
    for name, inputs, outputs in rows:
        for said, there in ((inputs, inputs_of(model, name)), (outputs, model.signatures[name].structured_outputs)):
            assert set(re.findall(r"`(\w+)`", said)) == set(there)
    dtypes = {each: spec.dtype for name in SIGNATURES for each, spec in inputs_of(model, name).items()}
    assert dtypes == {"x": tf.float32, "z": tf.float32, "num": tf.int32, "num_samples": tf.int32, "seed": tf.int64}
    x = model.signatures["score"](x=tf.zeros((2, 8, 8, 1)), num_samples=tf.constant(3), seed=tf.constant(0, tf.int64))
    assert {name: tuple(value.shape) for name, value in x.items() if value.shape != (2,)} == {ELEMENTS: (2, 8, 8, 1)}


def test_the_container_is_given_the_folder_above_the_version(folder):
    command = block_with("sh", "docker run")
    mounted, name = re.search(r'source="\$PWD/(\S+)",target=/models/(\w+)', command).groups()
    assert f"MODEL_NAME={name} " in command and name == "vae"
    assert [each.name for each in (folder / mounted).iterdir()] == ["1"]
    assert (folder / mounted / "1" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_saved_model_cli(folder):
    block = block_with("sh", "saved_model_cli")
    assert block.count("saved_model_cli ") == 3
    output = bash(block, folder)
    for name in SIGNATURES:
        assert f"signature_def['{name}']" in output
    printed = re.findall(r"Result for output key (\w+):\n(.*?)(?=\nResult|\Z)", output, re.S)
    assert [name for name, _ in printed] == ["mean", "sample", "elbo", "kl", "log_likelihood", ELEMENTS, "nll"]
    sizes = [len(re.findall(r"-?\d[\d.e+-]*", text)) for _, text in printed]
    assert sizes == [2 * 64, 2 * 64, 2, 2, 2, 2 * 64, 2]


def test_plain_tensorflow(folder):
    absent = ["keras_vae", "keras", "tf_keras", "tensorflow_probability"]
    block = block_with("python", "tf.saved_model.load")
    script = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n{block}\nprint(digits.shape)"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    likelihoods, shape = done.stdout.splitlines()
    assert len(likelihoods.strip("[]").split()) == 2
    assert shape == "(64, 8, 8, 1)"
    assert "gradient" not in done.stderr, "what is not there is not missed"
