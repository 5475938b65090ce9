"""What each part of a `Joint` costs, in nats: reported exactly, however the steps run, and computed once."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from keras import optimizers

import keras_vae
from keras_vae.layers import IndependentBernoulli, IndependentNormal, Joint
from keras_vae.layers.families.independent_normal import IndependentNormalDistribution

RNG = np.random.default_rng(0)
# 21 rows, of which a batch of 8 leaves 5.
X = {
    "age": RNG.normal(1.0, 2.0, (21, 2)).astype("float32"),
    "member": RNG.binomial(1, 0.3, (21,)).astype("float32"),
}
WEIGHTS = RNG.uniform(0.0, 3.0, 21).astype("float32")
NLL = {  # of what the decoder below says of every z
    "age": -scipy.stats.norm(0.5, 1.5).logpdf(X["age"]).sum(axis=-1),
    "member": -scipy.stats.bernoulli(scipy.special.expit(-0.7)).logpmf(X["member"]),
}


def constant_vae(kind=keras_vae.VAE, num_samples=1, **compiled):
    """A VAE whose likelihood does not depend on z, and that does not learn, so that its metrics are known."""
    keras.utils.set_random_seed(0)
    inputs = {"age": keras.Input((2,), name="age"), "member": keras.Input((), name="member")}
    columns = keras.layers.Concatenate()([inputs["age"], keras.layers.Reshape((1,))(inputs["member"])])
    encoder = keras.Model(inputs, IndependentNormal(2)(columns))
    joint = Joint({"age": IndependentNormal(2, scale=1.5), "member": IndependentBernoulli(())})
    vae = kind(encoder, keras.Sequential([joint]), seed=0, objective=keras_vae.objectives.ELBO(num_samples=num_samples))
    joint.build((None, 2))
    for layer, bias in ((joint.likelihoods["age"], 0.5), (joint.likelihoods["member"], -0.7)):
        for weight in layer.weights:
            weight.assign(np.full(weight.shape, 0.0 if len(weight.shape) == 2 else bias))
    vae.compile(optimizers.SGD(0.0), **{"jit_compile": False, **compiled})
    return vae


def check(found, prefix="", weights=None):
    for name, nll in NLL.items():
        assert found[f"{prefix}nll/{name}"] == pytest.approx(np.average(nll, weights=weights), rel=1e-5)
    assert found[f"{prefix}nll/age"] + found[f"{prefix}nll/member"] == pytest.approx(found[f"{prefix}nll"], rel=1e-6)


class OwnStep(keras_vae.VAE):
    """Has a step of its own."""

    def train_step(self, data):
        return super().train_step(data)


WAYS = {
    "blocks": {},
    "xla": {"jit_compile": True},
    "a batch at a time": {"steps_per_execution": 1},
    "eager": {"run_eagerly": True},
    "own step": {"kind": OwnStep},
    "draws": {"num_samples": 3},
}


@pytest.mark.parametrize("way", WAYS)
def test_each_part_s_nll_is_exact_and_they_add_up(way):
    vae = constant_vae(**WAYS[way])
    options = {"batch_size": 8, "verbose": 0}
    history = vae.fit(X, sample_weight=WEIGHTS, validation_data=X, epochs=2, **options).history
    for epoch in range(2):
        logs = {name: values[epoch] for name, values in history.items()}
        check(logs, weights=WEIGHTS)
        check(logs, "val_")
    check(vae.evaluate(X, sample_weight=WEIGHTS, return_dict=True, **options), weights=WEIGHTS)
    assert vae.metrics_names[-2:] == ["nll/age", "nll/member"]
    found = vae.predict(X, **options)
    for name, nll in NLL.items():
        np.testing.assert_allclose(found[f"nll/{name}"], nll, rtol=1e-5)


def test_a_stream_whose_first_batch_builds_the_model_reports_them_too():
    vae = constant_vae()
    rows = ({name: part[start : start + 7] for name, part in X.items()} for start in (0, 7, 14))
    check({name: values[0] for name, values in vae.fit(rows, verbose=0).history.items()})


def test_parts_are_reported_and_not_minimised():
    """The loss is the objective's alone; weighting the likelihood changes no share."""

    class Halved(keras_vae.objectives.ELBO):
        @property
        def term_weights(self):
            return {"nll": 0.5, "kl": 0.0}

    vae = constant_vae()
    halved = keras_vae.VAE(vae.encoder, vae.decoder, objective=Halved(), seed=0)
    halved.compile(optimizers.SGD(0.0), jit_compile=False)
    logs = halved.evaluate(X, verbose=0, return_dict=True)
    check(logs)
    assert logs["loss"] == pytest.approx(0.5 * logs["nll"], rel=1e-6)


def test_each_part_is_scored_once(monkeypatch):
    calls = []
    score = IndependentNormalDistribution.log_prob_of_elements

    def counted(self, x, event_ndims=0):
        calls.append(x)
        return score(self, x, event_ndims)

    vae = constant_vae(num_samples=2)
    vae.build({name: part.shape for name, part in X.items()})
    forward = vae.forward_pass(X, np.array([0, 1], "int32"))
    monkeypatch.setattr(IndependentNormalDistribution, "log_prob_of_elements", counted)
    terms = vae.objective(forward)
    reported = forward.reported(terms)
    assert len(calls) == 1  # the KL is a closed form
    shares = [each for name, each in reported.items() if name.startswith("nll/")]
    np.testing.assert_allclose(sum(shares), terms["nll"], rtol=1e-6)
    assert forward.log_likelihood.shape == (2, 21)


def test_a_likelihood_of_one_part_has_none():
    vae = keras_vae.VAE(keras.Sequential([IndependentNormal(2)]), keras.Sequential([IndependentNormal(2)]))
    vae.compile("adam", jit_compile=False)
    assert set(vae.fit(X["age"], verbose=0).history) == {"loss", "elbo", "nll", "kl"}


def test_files_hold_no_metrics_and_whoever_loads_one_reports_them(tmp_path):
    """So what was saved before parts were reported is the same file."""
    vae = constant_vae()
    vae.fit(X, verbose=0)
    vae.save(tmp_path / "vae.keras")
    content = zipfile.ZipFile(tmp_path / "vae.keras").read("model.weights.h5")
    names = []
    h5py.File(io.BytesIO(content)).visit(names.append)
    assert not [name for name in names if "tracker" in name or "mean" in name]
    again = keras_vae.load_model(tmp_path / "vae.keras")
    check(again.evaluate(X, verbose=0, return_dict=True))
    vae.save_weights(tmp_path / "vae.weights.h5")
    other = constant_vae()
    other.build({name: part.shape for name, part in X.items()})
    other.load_weights(tmp_path / "vae.weights.h5")
    check(other.evaluate(X, verbose=0, return_dict=True))
