"""A likelihood for each part of x: what it scores, what a VAE makes of it, what it refuses."""

import keras
import numpy as np
import pytest
import scipy.stats

import keras_vae
from keras_vae import scales
from keras_vae.layers import IndependentBernoulli, IndependentNormal, IndependentStudentT, Joint, Masked

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(200, 2))
X = {
    "age": (2 * Z[:, 0] + 1).astype("float32"),
    "member": (Z[:, 1] > 0).astype("float32"),
    "row": (Z @ RNG.normal(size=(2, 5))).astype("float32"),
}


def likelihoods():
    return {
        "age": IndependentNormal((), scale=scales.Shared()),
        "member": IndependentBernoulli(()),
        "row": IndependentNormal(5, scale=scales.Shared()),
    }


def table_vae(**kwargs):
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input(part.shape[1:], name=name) for name, part in X.items()}
    columns = [keras.layers.Reshape((-1,))(inputs["age"]), keras.layers.Reshape((-1,))(inputs["member"]), inputs["row"]]
    features = keras.layers.Dense(16, "tanh")(keras.layers.Concatenate()(columns))
    encoder = keras.Model(inputs, IndependentNormal(2)(features))
    decoder = keras.Sequential([keras.layers.Dense(16, "tanh"), Joint(likelihoods())])
    return keras_vae.VAE(encoder, decoder, seed=0, **kwargs)


def test_log_prob_is_the_sum_over_the_parts():
    features = RNG.normal(size=(4, 3)).astype("float32")
    joint = Joint(likelihoods())(features)
    x = {name: part[:4] for name, part in X.items()}
    age, member, row = (joint.parts[name] for name in X)
    expected = (
        scipy.stats.norm(age.mean(), age.stddev()).logpdf(x["age"])
        + scipy.stats.bernoulli(member.mean()).logpmf(x["member"])
        + scipy.stats.norm(row.mean(), row.stddev()).logpdf(x["row"]).sum(axis=-1)
    )
    np.testing.assert_allclose(joint.log_prob(x), expected, rtol=1e-5)
    assert {name: tuple(shape) for name, shape in joint.event_shape.items()} == {"age": (), "member": (), "row": (5,)}
    drawn = joint.sample(7, seed=(1, 2))
    assert {name: tuple(part.shape) for name, part in drawn.items()} == {
        "age": (7, 4),
        "member": (7, 4),
        "row": (7, 4, 5),
    }


def test_a_vae_of_mixed_columns_trains_scores_and_is_saved(tmp_path):
    vae = table_vae(objective=keras_vae.objectives.ELBO(num_samples=2))
    vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = vae.fit(X, validation_data=X, epochs=8, verbose=0).history
    assert history["val_elbo"][-1] > history["val_elbo"][0] + 1
    assert {"age_sigma", "row_sigma"} <= set(history)
    assert history["age_sigma"][-1] == pytest.approx(float(vae.decoder.layers[-1].likelihoods["age"].scale.value()))
    reconstruction = vae.predict(X, verbose=0)["reconstruction"]
    for drawn in (reconstruction, vae.reconstruct(X), vae.generate(200, sample=True, seed=0)):
        assert {name: tuple(part.shape) for name, part in drawn.items()} == {k: v.shape for k, v in X.items()}
    bound = vae.evaluate(X, verbose=0, return_dict=True)["elbo"]
    assert vae.log_likelihood(X, num_samples=200, verbose=0, seed=0).mean() > bound
    vae.save(tmp_path / "vae.keras")
    copy = keras.saving.load_model(tmp_path / "vae.keras")
    for name, part in copy.reconstruct(X).items():
        np.testing.assert_array_equal(part, vae.reconstruct(X)[name])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"age": X["age"]}, r"keys of the decoder's likelihoods, \['age', 'member', 'row'\]; received \['age'\]"),
        (
            {**X, "member": 3 * X["member"]},
            r"x\['member'\]: IndependentBernoulli scores x in \[0, 1\]; received 3.0",
        ),
        ({**X, "row": np.where(X["row"] > 2, np.nan, X["row"])}, r"x\['row'\] to be finite"),
        ({**X, "row": X["row"][:, :4]}, r"each x\['row'\] to have the decoder's event shape, \(5,\)"),
    ],
    ids=["keys", "support", "nan", "shape"],
)
def test_data_that_the_parts_cannot_score_is_refused(x, message):
    vae = table_vae()
    vae.compile("adam", jit_compile=False)
    vae.build({name: part.shape for name, part in X.items()})
    with pytest.raises(ValueError, match=message):
        vae.fit(x, verbose=0)


@pytest.mark.parametrize("likelihoods", [{}, [IndependentNormal(2)], {"a": keras.layers.Dense(2)}, None], ids=repr)
def test_what_is_no_dictionary_of_layers_is_refused(likelihoods):
    with pytest.raises(ValueError, match="Joint: expected `likelihoods` to be a dictionary of distribution layers"):
        Joint(likelihoods)


def test_a_column_may_have_missing_entries():
    joint = Joint({"age": Masked(IndependentNormal(())), "row": IndependentNormal(5)})
    distribution = joint(np.ones((2, 3), "float32"))
    x = {"age": np.array([np.nan, 1.0], "float32"), "row": np.zeros((2, 5), "float32")}
    parts = distribution.parts
    with pytest.raises(AttributeError, match=r"expected one of its `parts`, \['age', 'row'\], to be asked for"):
        distribution.distribution  # noqa: B018
    expected = parts["row"].log_prob(x["row"]).numpy()
    expected[1] += parts["age"].distribution.log_prob(x["age"])[1]
    np.testing.assert_allclose(distribution.log_prob(x), expected, rtol=1e-6)


@pytest.mark.parametrize("seed", [None, 3, (1, 2)])
def test_draws_take_any_seed(seed):
    joint = Joint(likelihoods())(RNG.normal(size=(4, 3)).astype("float32"))
    draws = joint.sample(2, seed=seed)
    shapes = {name: tuple(part.shape) for name, part in draws.items()}
    assert shapes == {"age": (2, 4), "member": (2, 4), "row": (2, 4, 5)}


def test_a_network_that_ends_in_it_knows_its_shape():
    layer = Joint(likelihoods())
    assert layer.event_shape == {"age": (), "member": (), "row": (5,)}
    assert keras.Sequential([keras.layers.Dense(4), layer]).compute_output_shape((None, 3)) == (None, 7)


def test_what_parts_have_learned_is_reported_by_their_names():
    parts = {
        "a": IndependentNormal((), scale=scales.Shared()),
        "b": Masked(IndependentStudentT(2, scale=scales.PerDimension(initial=0.5))),
        "c": IndependentBernoulli(3),
    }
    encoder = keras.Sequential([keras.layers.Dense(4), IndependentNormal(2)])
    vae = keras_vae.VAE(encoder, keras.Sequential([keras.layers.Dense(4), Joint(parts)]))
    vae.decode(np.zeros((1, 2), "float32"))
    learned = {name: float(value) for name, value in vae.get_metrics_result().items() if "_" in name}
    assert learned == pytest.approx({"a_sigma": 1.0, "b_sigma": 0.5, "b_df": 10.0}, rel=1e-5)


def test_a_joint_in_a_joint_is_refused():
    inner = keras_vae.layers.Joint({"a": keras_vae.layers.IndependentNormal(1)})
    with pytest.raises(ValueError, match=r"a dictionary of distribution layers, .*, none a Joint itself; received"):
        keras_vae.layers.Joint({"inner": inner})
