"""Weights of terms: numbers that may be set while a model trains, variables of one's own, and schedules."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import schedules
from saved import reload
from small import KERAS, digits, gaussian_vae

import keras_vae
from keras_vae.objectives import ELBO, GECO, MMD, BetaTC, FactorVAE, FreeBits, Hyperparameter, Objective, Sum, values
from keras_vae.objectives.values import number_of, value_at, weights_at

X = digits()[:64]
FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures/vae.keras"


def made(beta=1.0, **kwargs):
    """A VAE with a few units, compiled: by default without XLA, whose compiling takes most of a test's time."""
    vae = gaussian_vae(units=8, objective=ELBO(beta=beta))
    vae.compile("adam", **{"jit_compile": False, **kwargs})
    return vae


def fit(vae, **kwargs):
    return vae.fit(X, **{"batch_size": 16, "verbose": 0, **kwargs}).history


def weight_of_kl(logs):
    """What the KL was weighted by, from the logs of one epoch: loss = nll + weight kl."""
    loss, nll, kl = (np.asarray(logs[name])[-1] for name in ("loss", "nll", "kl"))
    return (loss - nll) / kl


def traces(vae):
    return vae.train_function.program.experimental_get_tracing_count()


@pytest.mark.parametrize(
    "how",
    [{"jit_compile": True}, {}, {"run_eagerly": True}, {"steps_per_execution": 1}],
    ids=["xla", "blocks", "eager", "steps"],
)
def test_a_number_that_is_set_counts_from_the_next_step_on(how):
    vae = made(**how)
    assert weight_of_kl(fit(vae)) == pytest.approx(1.0, abs=1e-4)
    before = None if how.get("run_eagerly") else traces(vae)
    vae.objective.beta = 50.0
    assert weight_of_kl(fit(vae)) == pytest.approx(50.0, rel=1e-4)
    assert before is None or traces(vae) == before
    scores = vae.evaluate(X, verbose=0, return_dict=True)
    assert (scores["loss"] - scores["nll"]) / scores["kl"] == pytest.approx(50.0, rel=1e-4)
    assert vae.objective.beta == 50.0 and vae.get_config()["objective"]["config"]["beta"] == 50.0


class Steps(keras.callbacks.Callback):
    """Sets beta to the epoch's number when it begins."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.objective.beta = float(epoch)


def test_a_callback_sets_it_beside_schedules_and_nothing_is_traced_anew():
    """The learning rate has one. An epoch's loss has the weight that its beginning set: 0, 1, 2."""
    vae = made()
    vae.compile(keras.optimizers.Adam(schedules.ExponentialDecay(1e-2, 4, 0.5)), jit_compile=False)
    weights, counts = [], []

    def note(epoch, logs):
        weights.append((logs["loss"] - logs["nll"]) / logs["kl"])
        counts.append(traces(vae))

    fit(vae, epochs=3, callbacks=[Steps(), keras.callbacks.LambdaCallback(on_epoch_end=note)])
    np.testing.assert_allclose(weights, [0.0, 1.0, 2.0], atol=1e-3)
    assert len(set(counts)) == 1


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
def test_a_number_weighs_as_the_number_itself_would(policy):
    """To the last bit: against an objective whose weight is the Python number, which a program has as a constant."""

    class Constant(ELBO):
        @property
        def term_weights(self):
            return {"nll": 1.0, "kl": 0.7}

    states = []
    for objective in (ELBO(beta=0.7), Constant()):
        keras.config.set_dtype_policy(policy)
        try:
            vae = gaussian_vae(units=8, objective=objective)
        finally:
            keras.config.set_dtype_policy("float32")
        vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        states.append([*fit(vae, epochs=2)["loss"], *vae.get_weights()])
    for one, other in zip(*states, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_number_reads_as_it_was_set_and_is_no_weight_of_the_model():
    """0.7, and not its float32; and `count_params`, `get_weights` and the optimizer do not know of it."""
    vae = made(beta=4)
    vae.build(X.shape)
    assert type(vae.objective.beta) is int
    vae.objective.beta = 0.7
    assert repr(vae.objective.beta) == "0.7" and repr(vae.objective).startswith("ELBO(num_samples=1, beta=0.7, ")
    other = made(beta=schedules.PolynomialDecay(0.0, 10))
    other.build(X.shape)
    assert vae.count_params() == other.count_params() and not vae.objective.weights
    assert any(variable.path.endswith("beta") for variable in vae.non_trainable_variables)
    assert [layer.name for layer in vae.layers][:2] == [vae.encoder.name, vae.decoder.name]
    other.set_weights(vae.get_weights())


@pytest.mark.parametrize("trainable", [True, False])
def test_a_variable_of_one_s_own_is_used_as_it_is(trainable, tmp_path):
    beta = keras.Variable(2.0, trainable=trainable, name="mine")
    vae = made(beta=beta)
    assert weight_of_kl(fit(vae)) == pytest.approx(2.0, rel=1e-4)
    beta.assign(30.0)
    assert weight_of_kl(fit(vae)) == pytest.approx(30.0, rel=1e-4)
    assert float(beta) == 30.0 and not any(each is beta for each in vae.trainable_variables)
    vae.objective.beta = 5.0
    assert float(beta) == 5.0 and vae.objective.beta is beta
    loaded = reload(vae, tmp_path)
    assert loaded.objective.beta == 5.0 and type(loaded.objective.beta) is float


@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf"), "1", None, True, keras.Variable([1.0, 2.0])])
def test_what_is_no_weight_is_refused_when_set_as_by_the_constructor(beta):
    vae = made()
    for built in (False, True):
        if built:
            vae.build(X.shape)
        with pytest.raises(ValueError, match="ELBO: expected `beta` to be a finite number >= 0") as error:
            vae.objective.beta = beta
        with pytest.raises(ValueError, match=re.escape(str(error.value))):
            ELBO(beta=beta)
        assert vae.objective.beta == 1.0


SCHEDULE = schedules.PolynomialDecay(0.0, 10, end_learning_rate=1.0)


@pytest.mark.parametrize(
    ("had", "set_to", "kind"),
    [
        (1.0, SCHEDULE, "a number"),
        (1.0, keras.Variable(1.0), "a number"),
        (SCHEDULE, 1.0, "the schedule that it is"),
        (SCHEDULE, schedules.PolynomialDecay(1.0, 10), "the schedule that it is"),
    ],
)
def test_another_kind_is_refused_once_programs_were_made(had, set_to, kind):
    vae = made(had)
    vae.objective.beta = set_to  # nothing is built
    assert vae.objective.beta is set_to
    vae = made(had)
    vae.build(X.shape)
    message = rf"ELBO: expected `beta` to stay {kind}, .* vae\.objective = ELBO\(beta=\.\.\.\)"
    with pytest.raises(ValueError, match=message):
        vae.objective.beta = set_to
    assert vae.objective.beta is had
    vae.objective.beta = had


def test_another_objective_counts_from_the_next_step_on():
    """Set between fits, and by a callback within one. It is the model's part in the place of the one before."""
    vae = made()
    fit(vae)
    before = vae.objective
    vae.objective = ELBO(beta=9.0, num_samples=2)
    assert weight_of_kl(fit(vae)) == pytest.approx(9.0, rel=1e-4)
    assert before not in vae.layers and vae.objective in vae.layers

    def replace(epoch, logs=None):
        if epoch == 1:
            vae.objective = ELBO(beta=schedules.PiecewiseConstantDecay([1], [3.0, 3.0]))

    history = fit(vae, epochs=2, callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=replace)])
    assert weight_of_kl(history) == pytest.approx(3.0, rel=1e-4)
    with pytest.raises(ValueError, match="expected `objective` to be a keras_vae Objective"):
        vae.objective = "elbo"

    class Other(ELBO):
        @property
        def term_weights(self):
            return {"nll": 1.0, "rate": 1.0}

    with pytest.raises(ValueError, match=r"to have the same terms, \['nll', 'kl'\]; received .*\['nll', 'rate'\]"):
        vae.objective = Other()
    assert weight_of_kl(fit(vae)) == pytest.approx(3.0, rel=1e-4)


# Files.


def test_a_file_keeps_what_was_set(tmp_path):
    vae = made()
    fit(vae)
    vae.objective.beta = 0.3
    loaded = reload(vae, tmp_path)
    assert loaded.objective.beta == 0.3
    assert json.dumps(loaded.get_config()) == json.dumps(vae.get_config())
    assert loaded.evaluate(X, verbose=0) == vae.evaluate(X, verbose=0)
    loaded.objective.beta = 2.0
    assert weight_of_kl(fit(loaded)) == pytest.approx(2.0, rel=1e-4)
    clone = keras.models.clone_model(loaded)
    assert clone.objective.beta == 2.0 and clone.objective is not loaded.objective


def test_weights_bring_what_was_set_to_a_model_that_began_alike(tmp_path):
    """As in a run that is begun again. A model that was made with another number keeps its own, as it does a seed."""
    vae = made(beta=0.5)
    vae.build(X.shape)
    vae.objective.beta = 3.0
    vae.save_weights(tmp_path / "vae.weights.h5")
    for beta, expected in ((0.5, 3.0), (1.0, 1.0), (SCHEDULE, SCHEDULE)):
        other = made(beta=beta)
        other.build(X.shape)
        other.load_weights(tmp_path / "vae.weights.h5")
        assert other.objective.beta == expected
        np.testing.assert_array_equal(other.get_weights()[0], vae.get_weights()[0])


@pytest.mark.skipif(KERAS < (3, 15), reason="the file was written by a newer Keras, which reads it")
def test_files_from_before_leave_the_objective_as_the_configuration_has_it(tmp_path):
    """Of a schedule, in the file; and of a number, into which the same file's weights are loaded."""
    loaded = keras_vae.load_model(FIXTURE)
    assert isinstance(loaded.objective.beta, schedules.PolynomialDecay)
    encoder, decoder = (keras.models.clone_model(part) for part in (loaded.encoder, loaded.decoder))
    other = keras_vae.VAE(encoder, decoder, objective=ELBO(beta=0.25))
    other.build(X.shape)
    other.load_weights(FIXTURE)
    assert other.objective.beta == 0.25
    np.testing.assert_array_equal(other.encoder.get_weights()[0], loaded.encoder.get_weights()[0])


# Elsewhere than in a VAE's own programs.


def test_it_counts_inside_a_larger_model():
    inner = gaussian_vae(units=8)

    class Larger(keras.Model):
        def __init__(self):
            super().__init__()
            self.vae = inner
            self.nll, self.kl = keras.metrics.Mean(name="nll"), keras.metrics.Mean(name="kl")

        def call(self, x, training=None):
            terms = self.vae(x, training=training)
            self.nll.update_state(terms["nll"]), self.kl.update_state(terms["kl"])
            return terms["reconstruction"]

    model = Larger()
    model.compile("adam")
    for beta in (1.0, 20.0):
        inner.objective.beta = beta
        assert weight_of_kl(fit(model)) == pytest.approx(beta, rel=1e-4)


def test_two_models_share_an_objective():
    objective = ELBO()
    one, other = gaussian_vae(units=8, objective=objective), gaussian_vae(units=4, objective=objective)
    for vae in (one, other):
        vae.compile("adam", jit_compile=False)
        fit(vae)
    objective.beta = 7.0
    for vae in (one, other):
        assert weight_of_kl(fit(vae)) == pytest.approx(7.0, rel=1e-4)


@keras.saving.register_keras_serializable("tests")
class Tempered(ELBO):
    """An objective with a weight of its own, by which it counts even where it scores."""

    heat = Hyperparameter()

    def __init__(self, heat=1.0, **kwargs):
        super().__init__(**kwargs)
        self.heat = heat

    @property
    def term_weights(self):
        return {"nll": self.heat, "kl": self.beta}


def test_an_objective_of_one_s_own_has_weights_too(tmp_path):
    vae = gaussian_vae(units=8, objective=Tempered(heat=0.5, beta=0.25))
    vae.compile("adam", jit_compile=False)
    fit(vae)
    vae.objective.heat = 2.0
    logs = {name: values[-1] for name, values in fit(vae).items()}
    np.testing.assert_allclose(logs["loss"], 2.0 * logs["nll"] + 0.25 * logs["kl"], rtol=1e-5)
    np.testing.assert_allclose(logs["elbo"], -logs["nll"] - logs["kl"], rtol=1e-5)
    assert repr(reload(vae, tmp_path).objective).startswith("Tempered(num_samples=1, beta=0.25, heat=2.0, ")


def test_an_exported_score_has_what_was_set(tmp_path):
    """The SavedModel holds the variable that a program of it reads."""
    vae = gaussian_vae(units=8, objective=Tempered())
    vae.build(X.shape)
    vae.objective.heat = 3.0
    vae.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "served")
    found = loaded.signatures["score"](x=tf.constant(X), num_samples=tf.constant(2), seed=tf.constant(0, tf.int64))
    np.testing.assert_allclose(found["elbo"], -(found["nll"] + found["kl"]), rtol=1e-5)


def test_an_objective_with_a_constructor_of_its_own_need_not_know_a_layer_s_arguments(tmp_path):
    """As of before objectives were layers: a configuration of theirs has what it had."""
    choices = {"kl": "auto", "gradient": "plain"}
    assert ELBO(beta=0.5).get_config() == {"num_samples": 1, "beta": 0.5, **choices}
    assert ELBO(name="mine").get_config() == {"name": "mine", "num_samples": 1, "beta": 1.0, **choices}
    assert ELBO.from_config(ELBO(name="mine").get_config()).name == "mine"


@keras.saving.register_keras_serializable("tests")
class Judged(Objective):
    """An objective with a network, which learns to tell z = 0 from the posterior's draws."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.judge = keras.layers.Dense(1)

    @property
    def term_weights(self):
        return {"nll": 1.0, "judged": 0.1}

    def __call__(self, forward):
        z = forward.z[0]
        judged = keras.ops.softplus(-self.judge(z)) + keras.ops.softplus(self.judge(keras.ops.zeros_like(z)))
        return {"nll": -forward.likelihood.log_prob(forward.x)[0], "judged": judged[:, 0]}


def test_an_objective_s_network_is_trained_and_saved(tmp_path):
    vae = gaussian_vae(units=8, objective=Judged())
    vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    vae.build(X.shape)
    before = vae.objective.get_weights()
    fit(vae)
    assert not np.array_equal(before[0], vae.objective.get_weights()[0])
    loaded = reload(vae, tmp_path)
    for one, other in zip(loaded.objective.get_weights(), vae.objective.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_values_at_a_step():
    objective = ELBO(beta=SCHEDULE)
    assert number_of(weights_at(objective, 5)["nll"]) == 1.0
    np.testing.assert_allclose(weights_at(objective, 5)["kl"], 0.5)
    np.testing.assert_allclose(weights_at(objective)["kl"], 1.0)


def test_an_objective_s_constants_by_name():
    """All that are a `Hyperparameter`, as they were set; those of a sum's parts by the parts' names, too."""
    objectives = keras_vae.objectives
    assert ELBO(beta=2).constants() == {"beta": 2}
    assert objectives.Capacity(2, gamma=SCHEDULE).constants() == {"capacity": 2, "gamma": SCHEDULE}
    assert objectives.GECO(2.0, 0.5).constants() == {"level": 2.0, "speed": 0.5}
    assert objectives.IWAE(3).constants() == {}
    total = objectives.Sum(objectives.FreeBits(0.25), objectives.Sum(objectives.MMD(2.0), objectives.DIP()))
    assert total.constants() == {
        **{"FreeBits/level": 0.25, "FreeBits/beta": 1.0},
        **{"Sum/MMD/weight": 2.0, "Sum/DIP/lambda_od": 10.0, "Sum/DIP/lambda_d": 100.0},
    }
    vae = made()
    vae.build(X.shape)
    vae.objective.beta = 3.0
    assert vae.objective.constants() == {"beta": 3.0}


class Dips(schedules.LearningRateSchedule):
    """-1 at one step, which its configuration names or not; else 1."""

    def __init__(self, step, **config):
        self.step, self.config = step, config

    def __call__(self, step):
        return keras.ops.where(keras.ops.equal(step, self.step), -1.0, 1.0)

    def get_config(self):
        return self.config or super().get_config()  # which there is none of


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (schedules.PiecewiseConstantDecay([100, 120], [1.0, -1.0, 1.0]), 101),
        (schedules.PiecewiseConstantDecay([100.5, 120], [1.0, -2.0, 1.0]), 101),
        (schedules.CosineDecay(1.0, 100, warmup_target=-0.001, warmup_steps=50), 50),
        (Dips(1000, at=1000), 1000),
        (Dips(1000, parts=[{"at": 1001}]), 1000),
        (Dips(1000, parts=({"at": 999.0}, None, "at")), 1000),
    ],
)
def test_a_schedule_is_looked_at_beside_the_numbers_of_its_configuration(schedule, step):
    with pytest.raises(ValueError, match=f"ELBO: expected `beta` .*, which gives .* at step {step}$"):
        ELBO(beta=schedule)


def test_what_its_configuration_does_not_name_is_not_seen():
    for schedule in (Dips(1000), Dips(1000, at=2000), Dips(1000, at=float("inf"), sign=-5)):
        assert ELBO(beta=schedule).beta is schedule
    with pytest.raises(ValueError, match="at step 1024"):
        ELBO(beta=Dips(1024))


def test_a_schedule_that_does_not_end_has_some_value_outside_training():
    """The one of step 2^31 - 1, as the docstrings say."""
    schedule = schedules.CosineDecayRestarts(1.0, 10)
    assert float(value_at(schedule)) == float(schedule(2**31 - 1))


@pytest.mark.parametrize("value", [2, True])
def test_a_variable_is_of_a_float_dtype(value):
    beta = keras.Variable(value, dtype="int32" if value == 2 else "bool")
    with pytest.raises(ValueError, match=r"a float keras\.Variable of one, .*; received: <Variable"):
        ELBO(beta=beta)


@pytest.mark.parametrize("name", ["elbo", "loss", "reconstruction"])
def test_a_term_is_not_called_as_the_model_calls_something_else(name):
    class Named(ELBO):
        @property
        def term_weights(self):
            return {name: 1.0}

    with pytest.raises(ValueError, match=f"Named: expected terms with names of their own; received a term '{name}'"):
        gaussian_vae(units=4, objective=Named())
    with pytest.raises(ValueError, match=f"received a term '{name}', as the model calls"):
        gaussian_vae(units=4).objective = Named()


# Constructors.


@keras.saving.register_keras_serializable("tests")
class Few(Objective):
    """A constructor that takes one constant, makes another, and takes nothing that all objectives have."""

    strength, other = Hyperparameter(), Hyperparameter()

    def __init__(self, strength=1.0):
        super().__init__(num_samples=2, name="few")
        self.strength, self.other = strength, 0.5

    @property
    def term_weights(self):
        return {"nll": self.strength, "kl": self.other}

    def __call__(self, forward):
        return {"nll": forward.nll, "kl": forward.kl}


def test_a_configuration_has_what_the_constructor_takes(tmp_path):
    assert Few(2.0).get_config() == {"strength": 2.0}
    vae = gaussian_vae(units=4, objective=Few(2.0))
    vae.compile("adam", jit_compile=False)
    vae.build(X.shape)
    vae.objective.strength, vae.objective.other = 3.0, 4.0  # of which the file's weights have the second
    loaded = reload(vae, tmp_path).objective
    assert loaded.num_samples == 2 and loaded.constants() == {"strength": 3.0, "other": 4.0}


class Forgets(ELBO):
    def __init__(self, strength, **kwargs):
        super().__init__(**kwargs)


class TakesNone(ELBO):
    def __init__(self):
        super().__init__()


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (Forgets(1.0), "missing a required argument: 'strength'"),
        (TakesNone(), "got an unexpected keyword argument 'kl'"),
    ],
)
def test_a_configuration_that_the_constructor_does_not_take(objective, reason):
    name = type(objective).__name__
    message = f"{name}: expected `get_config` to return what `__init__` takes; received .*{reason}. Let `get_config`"
    with pytest.raises(ValueError, match=message):
        type(objective).from_config(objective.get_config())


class Renames(ELBO):
    """A constant under another name than its argument, which no configuration has."""

    heat = Hyperparameter()

    def __init__(self, temperature=1.0):
        super().__init__()
        self.heat = temperature


class Keeps(ELBO):
    """An argument that is no constant, and that no configuration has."""

    def __init__(self, power=1.0, **kwargs):
        super().__init__(**kwargs)
        self.power = power


class Answers(Keeps):
    """One who leaves it out on purpose."""

    def __init__(self, power=1.0, **kwargs):
        super().__init__(power, **kwargs)

    def get_config(self):
        return super().get_config()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Keeps(3.0), "Keeps: expected a `get_config` that returns all that `__init__` takes, .* it has no 'power'"),
        (Sum(MMD(), Keeps(3.0)), "Keeps: expected a `get_config` that returns all"),
        (Renames(0.5), "Renames: expected `get_config` to return what `__init__` takes"),
        (TakesNone(), "TakesNone: expected `get_config` to return what `__init__` takes"),
    ],
)
def test_what_would_not_come_back_is_refused_when_saved(objective, message, tmp_path):
    vae = gaussian_vae(units=4, objective=objective)
    vae.build(X.shape)
    with pytest.raises(ValueError, match=message):
        vae.save(tmp_path / "vae.keras")
    assert not (tmp_path / "vae.keras").exists()
    assert gaussian_vae(units=4, objective=Answers(3.0)).get_config()["objective"]["config"]["beta"] == 1.0


class Unset(ELBO):
    extra = Hyperparameter()


def test_a_constant_that_was_never_set_is_named():
    with pytest.raises(AttributeError, match="Unset: expected the Hyperparameter `extra` to be set in `__init__`"):
        gaussian_vae(units=4, objective=Unset()).build(X.shape)


@pytest.mark.parametrize("number", [1e39, 10**400, float("nan")])
def test_a_number_beyond_float32_is_refused(number):
    with pytest.raises(ValueError, match=r"ELBO: expected `beta` to be a finite number >= 0, a float keras\.Variable"):
        ELBO(beta=number)


@pytest.mark.parametrize("value", [keras.KerasTensor(()), np.array("a")], ids=["symbolic", "text"])
def test_a_scalar_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="ELBO: expected `beta` to be a finite number"):
        ELBO(beta=value)


class Wrapped(Objective):
    """One that holds another, and is told, built and committed with it."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    @property
    def term_weights(self):
        return self.inner.term_weights

    def __call__(self, forward):
        return self.inner(forward)


def test_an_objective_within_another_learns_and_is_told():
    vae = gaussian_vae(units=4, objective=Wrapped(Sum(GECO(3.0, speed=0.1))))
    vae.compile("adam", jit_compile=False)
    fit(vae, epochs=1)
    inner = vae.objective.inner.parts[0]
    assert vae.objective.held_objectives() == [vae.objective.inner] and float(inner.beta) != 1.0
    assert float(inner.moving_weight) == pytest.approx(1.0 - 0.99**4, rel=1e-4), "once a step"
    vae = gaussian_vae(units=4, objective=Wrapped(BetaTC()))
    vae.compile("adam", jit_compile=False)
    fit(vae, epochs=1)
    assert vae.objective.inner.known.size == len(X)


class Malformed(ELBO):
    def __init__(self, weights, terms=None):
        self.weights_, self.terms = weights, terms
        super().__init__()

    @property
    def term_weights(self):
        return self.weights_

    def __call__(self, forward):
        return {**super().__call__(forward)} if self.terms is None else forward.nll


@pytest.mark.parametrize("weights", [{"nll": None}, {"nll": "1"}, ["nll"], {"nll": np.ones(2)}])
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="Malformed: expected `term_weights` to be a property that returns a dict"):
        gaussian_vae(units=4, objective=Malformed(weights))


def test_terms_that_are_no_dictionary():
    vae = gaussian_vae(units=4, objective=Malformed({"nll": 1.0}, terms="a tensor"))
    with pytest.raises(ValueError, match=r"Malformed: expected `__call__` to return a dictionary of terms, \['nll'\]"):
        vae.build(X.shape)


class Learns(GECO):
    """A term that is called as what it has learned."""

    @property
    def term_weights(self):
        return {**super().term_weights, "beta": 1.0}

    def __call__(self, forward):
        return {**super().__call__(forward), "beta": 42.0 + 0.0 * forward.nll}


def test_a_term_is_not_called_as_what_is_learned():
    vae = gaussian_vae(units=4, objective=Learns(3.0))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Learns: .* a term 'beta', as the model calls what it has learned"):
            vae.build(X.shape)


def test_another_objective_that_does_not_fit_leaves_the_one_before():
    vae = gaussian_vae(units=4, latent=3, objective=FreeBits(1.0))
    vae.compile("adam", jit_compile=False)
    fit(vae)
    before = vae.objective
    with pytest.raises(ValueError, match="FreeBits: expected `groups` to be a number that divides"):
        vae.objective = FreeBits(1.0, groups=2)
    assert vae.objective is before
    fit(vae)


def test_an_objective_that_is_not_to_be_saved_shows_its_class():
    class Own(keras.layers.Layer):
        def __init__(self, width):
            super().__init__()

    assert repr(FactorVAE(1.0, Own(object()))) == "FactorVAE(...)"
    with pytest.raises(ValueError, match=r"received the term 'nll' in FactorVAE\(...\) and in ELBO"):
        Sum(FactorVAE(1.0, Own(object())), ELBO())


def test_a_schedule_of_many_boundaries_is_looked_at_in_few_places():
    steps = [10.0 * step for step in range(1, 2001)]
    found = values.probed_steps(schedules.PiecewiseConstantDecay(steps, [0.1] * 2001))
    assert len(found) < 400 and {11, 20_001} & set(found)
    few = values.probed_steps(schedules.PiecewiseConstantDecay([10, 30], [0.1, -1.0, 0.1]))
    assert {11, 31} <= set(few)
