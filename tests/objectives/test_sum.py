"""Sums of objectives: whose terms, whose draws, whose gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import schedules
from small import digits, gaussian_vae

from keras_vae import objectives
from keras_vae.objectives import DIP, ELBO, IWAE, MIWAE, MMD, WAE, BetaTC, Sum, TotalCorrelation

X = digits()[:32]
SEED = np.array([3, 4], "int32")


class Renamed(MIWAE):
    """A bound under another name."""

    @property
    def term_weights(self):
        return {"other": 1.0}

    def __call__(self, forward):
        return {"other": -self.bound(forward.log_weights, forward)}


def made(objective):
    vae = gaussian_vae(units=4, objective=objective)
    vae.compile("sgd", jit_compile=False)
    return vae


def test_its_terms_are_those_of_all():
    objective = Sum(ELBO(beta=2.0, num_samples=3), MMD(10.0), DIP(1.0, 4.0))
    vae = made(objective)
    vae.build(X.shape)
    expected = {"nll": 1.0, "kl": 2.0, "mmd": 10.0, "off_diagonal": 1.0, "diagonal": 4.0}
    assert objective.term_weights == expected and objective.num_samples == 3
    forward = vae.forward_pass(X, SEED)
    assert forward.z.shape[0] == 3
    found = objective(forward)
    assert list(found) == list(expected)
    for part in objective.parts:
        for name, value in part(forward).items():
            np.testing.assert_array_equal(found[name], value)
    logs = vae.fit(X, verbose=0).history
    total = sum(weight * logs[name][0] for name, weight in expected.items())
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)


def test_a_part_s_weight_is_set_and_saved(tmp_path):
    vae = made(Sum(ELBO(), MMD(1.0), TotalCorrelation(0.5)))
    vae.fit(X, verbose=0)
    vae.objective.parts[1].weight = 30.0
    vae.objective.parts[0].beta = 0.25
    logs = {name: values[-1] for name, values in vae.fit(X, verbose=0).history.items()}
    expected = logs["nll"] + 0.25 * logs["kl"] + 30.0 * logs["mmd"] + 0.5 * logs["total_correlation"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert repr(loaded.objective) == repr(vae.objective)
    assert loaded.objective.parts[1].weight == 30.0 and loaded.objective.parts[0].beta == 0.25
    assert loaded.evaluate(X, verbose=0) == vae.evaluate(X, verbose=0)
    clone = keras.models.clone_model(loaded)
    assert clone.objective.parts[1].weight == 30.0 and clone.objective.parts[1] is not loaded.objective.parts[1]


def test_a_part_of_several_draws_averages_the_first_one_s():
    objective = Sum(IWAE(6), Renamed(num_bounds=1, num_samples=1))
    forward = made(objective).forward_pass(X, SEED)
    found = objective(forward)
    np.testing.assert_allclose(found["other"], found["negative_bound"], rtol=1e-6)


def test_its_parts_may_be_sums_and_have_schedules():
    decay = schedules.PolynomialDecay(4.0, 2, end_learning_rate=1.0)
    vae = made(Sum(Sum(ELBO(), MMD(decay)), DIP(0.0, 0.0)))
    logs = vae.fit(X, batch_size=32, epochs=4, verbose=0, validation_data=X).history
    rest = np.array(logs["loss"]) - logs["nll"] - logs["kl"]
    np.testing.assert_allclose(rest, np.array([4.0, 2.5, 1.0, 1.0]) * logs["mmd"], atol=2e-5)
    rest = np.array(logs["val_loss"]) - logs["val_nll"] - logs["val_kl"]
    np.testing.assert_allclose(rest, logs["val_mmd"], atol=2e-5)


def test_its_parts_have_names():
    """Those of their classes, and with their places where these are not enough."""

    class Nearer(Nearness):
        @property
        def term_weights(self):
            return {f"nearness_{self.name}": 0.5}

    parts = [ELBO(), Nearer(name="a"), MMD(), Nearer(name="b")]
    assert Sum(*parts).named_parts() == dict(zip(["ELBO", "Nearer_1", "MMD", "Nearer_3"], parts, strict=True))


def test_a_subclass_is_called_by_its_name():
    class Total(Sum):
        pass

    with pytest.raises(ValueError, match=r"Total: expected .*. Write Total\(a, b\)"):
        Total([ELBO(), MMD()])
    with pytest.raises(ValueError, match="Total: expected objectives without a term in common"):
        Total(ELBO(), WAE())


def test_the_first_one_says_how_the_kl_is_found():
    lines = []
    vae = made(Sum(ELBO(kl="draws"), MMD()))
    vae.build(X.shape)
    vae.summary(print_fn=lambda line, **_: lines.append(line))
    assert any("KL: by draws" in line for line in lines)


def test_beside_a_doubly_reparameterized_bound_the_others_keep_their_gradients():
    """The encoder's gradient of the sum is the sum of the parts' own."""

    def gradient(objective):
        vae = made(objective)
        vae.build(X.shape)
        with tf.GradientTape() as tape:
            forward = vae.forward_pass(X, SEED, training=True)
            terms = vae.objective(forward)
            loss = sum(vae.objective.term_weights[name] * tf.reduce_mean(value) for name, value in terms.items())
        return np.asarray(tape.gradient(loss, vae.encoder.trainable_variables[0]))

    bound, penalty = IWAE(4, gradient="dreg"), DIP(3.0, 2.0)
    alone = [gradient(IWAE(4, gradient="dreg")), gradient(DIP(3.0, 2.0)), gradient(MMD(50.0, num_samples=4))]
    found = gradient(Sum(bound, penalty, MMD(50.0)))
    np.testing.assert_allclose(found, sum(alone), rtol=1e-4, atol=1e-5 * np.abs(found).max())
    assert min(np.abs(each).max() for each in alone) > 0.0


@keras.saving.register_keras_serializable("tests")
class Nearness(objectives.Objective):
    """A penalty of one's own, which learns something and asks how many examples there are."""

    asked = ()

    @property
    def term_weights(self):
        return {"nearness": 0.5}

    def prepare(self, num_examples):
        self.asked = (*self.asked, num_examples)

    def __call__(self, forward):
        return {"nearness": keras.ops.mean(keras.ops.sum(forward.z**2, axis=-1), axis=0)}

    def learned_values(self):
        return {"near": 7.0}


def test_a_penalty_of_one_s_own_is_asked_all_that_an_objective_is():
    vae = made(Sum(ELBO(), Nearness()))
    logs = vae.fit(X, verbose=0).history
    assert logs["near"] == [7.0] and logs["nearness"][0] > 0.0
    vae.evaluate(X, verbose=0)
    assert vae.objective.parts[1].asked == (32, None)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "Sum: expected at least one objective; received none"),
        ([[ELBO(), MMD()]], r"received: \[ELBO.* of type list. Write Sum\(a, b\), without brackets"),
        ([ELBO(), "mmd"], "Sum: expected keras_vae.objectives objects, such as ELBO.*; received: 'mmd' of type str"),
        ([ELBO(), WAE()], r"without a term in common; received the term 'nll' in ELBO\(.*\) and in WAE\("),
        ([ELBO(), MMD(), MMD(2.0)], "received the term 'mmd' in MMD"),
        ([BetaTC(), TotalCorrelation()], "received the term 'total_correlation' in BetaTC"),
        ([ELBO(), MMD(num_samples=4)], r"as many draws as the first one makes, num_samples=1; received MMD\(num_s"),
    ],
)
def test_what_does_not_go_together(parts, message):
    with pytest.raises(ValueError, match=message):
        Sum(*parts)


def test_only_the_first_may_change_the_gradient_of_the_draws():
    with pytest.raises(ValueError, match="changes the gradient of the draws to be the first; received IWAE after MMD"):
        made(Sum(MMD(num_samples=4), IWAE(4, gradient="dreg"))).build(X.shape)
    with pytest.raises(ValueError, match=r"Sum: expected no term of log p\(x\|z\) beside IWAE, .*received ELBO"):
        made(Sum(IWAE(4, gradient="dreg"), ELBO(num_samples=4))).build(X.shape)
