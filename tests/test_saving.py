"""What comes back from a file: all of a model, whatever it is made of.

Everything is loaded in safe mode, with no custom objects beyond what importing the library registers.
"""

import functools
import json
import re

import keras
import numpy as np
import pytest
from cases import CASES
from checks import dtype_policy
from fixtures.make import registered_names
from keras.optimizers import schedules
from saved import check_same, normal_vae, normals, reload, unlike_new, vae_of

import keras_vae
from keras_vae import layers, objectives, priors, scales
from keras_vae.backend import tfd
from keras_vae.objectives.values import weights_at

# Whatever a model is made of: functions of nothing to a VAE and its x.


def of_case(case):
    return vae_of(case.make()), case.draw_x(np.random.default_rng(0), (3, *case.event_shape))


def joint_vae(likelihoods, x, shared=()):
    inputs = {name: keras.Input(part.shape[1:], name=name) for name, part in x.items()}
    features = keras.layers.Concatenate()([keras.layers.Flatten()(each) for each in inputs.values()])
    encoder = keras.Model(inputs, keras.Sequential([*shared, layers.IndependentNormal(2)])(features))
    return keras_vae.VAE(encoder, keras.Sequential([*shared, layers.Joint(likelihoods)])), x


SCALES = {
    "number": lambda: 0.5,
    "fixed": lambda: scales.Fixed(2.5),
    "shared": scales.Shared,
    "shared_by_axis": lambda: scales.Shared(initial=0.5, floor=0.01, axis=-1),
    "per_dimension": lambda: scales.PerDimension(initial=0.2, floor=0.1),
    "per_element": lambda: scales.PerElement(floor=0.1),
    "optimal": lambda: scales.Optimal(floor=0.1, axis=(0, 1), momentum=0.5),
}
# The layers that take a scale, and what else they take.
SCALED = {
    "IndependentNormal": {},
    "IndependentLaplace": {},
    "IndependentLogistic": {},
    "IndependentStudentT": {},
    "IndependentNegativeBinomial": {},
    "ZeroInflatedNegativeBinomial": {},
    "DiscretizedLogistic": {"levels": 5},
    "MultivariateNormalLowRank": {"rank": 2},
}
MAY_BE_OPTIMAL = ("IndependentNormal", "IndependentLaplace", "IndependentLogistic", "IndependentStudentT")


def of_every_scale(layer):
    """The layer with every scale, side by side."""
    names = [name for name in SCALES if name != "optimal" or layer in MAY_BE_OPTIMAL]
    likelihoods = {name: getattr(layers, layer)((2, 3), scale=SCALES[name](), **SCALED[layer]) for name in names}
    return joint_vae(likelihoods, {name: np.ones((3, 2, 3), "float32") for name in names})


def of_what_takes_no_scale():
    likelihoods = {
        "image": layers.DiscretizedLogisticMixture((2, 2, 1), levels=5, components=2),
        "count": layers.Masked(layers.IndependentPoisson(2)),
        "kind": layers.IndependentCategorical((), levels=3),
        "switch": layers.IndependentBernoulli((2, 1)),
        "share": layers.IndependentBeta(2),
        "grey": layers.IndependentContinuousBernoulli((2, 2)),
    }
    x = {
        name: np.full((3, *layer.event_shape), 0.5 if name in ("share", "grey") else 1.0, "float32")
        for name, layer in likelihoods.items()
    }
    return joint_vae(likelihoods, x)


def of_missing_entries():
    x = normals(3, 3)
    x[0, 1] = np.nan
    return vae_of(layers.Masked(layers.IndependentNormal(3)), first=[layers.Impute(0.5, mask=True)]), x


def of_several_inputs():
    image, label = keras.Input((4, 4, 1)), keras.Input((3,))
    features = keras.layers.Concatenate()([keras.layers.Flatten()(image), label])
    encoder = keras.Model([label, image], layers.IndependentNormal(2)(features))
    decoder = keras.Sequential([layers.IndependentNormal((4, 4, 1))])
    return keras_vae.VAE(encoder, decoder, target=1), [normals(3, 3), normals(3, 4, 4, 1)]


def of_convolutions():
    encoder = [keras.layers.Conv2D(2, 3, 2, "same"), keras.layers.BatchNormalization(), layers.IndependentNormal(2)]
    decoder = [keras.layers.Dense(8), keras.layers.Reshape((2, 2, 2)), keras.layers.Conv2DTranspose(2, 3, 2, "same")]
    likelihood = layers.IndependentLogistic((4, 4, 1), projection=False)
    return keras_vae.VAE(keras.Sequential(encoder), keras.Sequential([*decoder, likelihood])), normals(3, 4, 4, 1)


def of_another_s_encoder():
    other, x = normal_vae()
    encoder = keras.Sequential([other.encoder, layers.Mean(), keras.layers.Dense(4), layers.IndependentNormal(2)])
    return keras_vae.VAE(encoder, keras.Sequential([layers.IndependentNormal(3)])), x


def of_random_layers():
    """Noise beside that of the latents, seeded and not, and in a network within the network."""
    within = keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.5, seed=7)])
    first = [keras.layers.GaussianNoise(0.1), within, keras.layers.Dropout(0.1)]
    return normal_vae(first=first)


def of_shared_parts():
    """A layer of both networks, and a scale of two likelihoods."""
    scale = scales.Shared()
    likelihoods = {name: layers.IndependentNormal((), scale=scale) for name in ("a", "b")}
    return joint_vae(likelihoods, {"a": normals(3), "b": normals(3)}, shared=[keras.layers.Dense(2)])


@keras.saving.register_keras_serializable("test_saving")
def gamma(features):
    concentration, rate = keras.ops.split(keras.ops.softplus(features) + 0.1, 2, axis=-1)
    return tfd.Independent(tfd.Gamma(concentration, rate), 1)


def of_a_function():
    decoder = keras.Sequential([keras.layers.Dense(6), layers.DistributionLambda(gamma)])
    return keras_vae.VAE(keras.Sequential([layers.IndependentNormal(2)]), decoder), np.ones((3, 3))


MODELS = {f"every_scale_of_{layer}": functools.partial(of_every_scale, layer) for layer in SCALED}
MODELS |= {
    "what_takes_no_scale": of_what_takes_no_scale,
    "missing_entries": of_missing_entries,
    "several_inputs": of_several_inputs,
    "convolutions": of_convolutions,
    "another_s_encoder": of_another_s_encoder,
    "random_layers": of_random_layers,
    "shared_parts": of_shared_parts,
    "a_function": of_a_function,
    "named_and_seeded": functools.partial(normal_vae, name="mine", seed=5, trainable=False),
    "posterior_and_prior": functools.partial(
        normal_vae, posterior=layers.MultivariateNormalTriL(2), prior=priors.StandardNormal(2)
    ),
    "a_discriminator": functools.partial(
        normal_vae, objective=objectives.FactorVAE(2.0, keras.Sequential([keras.layers.Dense(2)]), beta=0.5)
    ),
    "several_draws": functools.partial(normal_vae, objective=objectives.ELBO(0.5, num_samples=4)),
}

OBJECTIVES = {
    "iwae": lambda: objectives.IWAE(3, gradient="dreg"),
    "miwae": lambda: objectives.MIWAE(num_bounds=2, num_samples=6),
    "ciwae": lambda: objectives.CIWAE(beta=0.25, num_samples=3),
    "renyi": lambda: objectives.RenyiBound(alpha=0.5, num_samples=3),
    "beta_tc": lambda: objectives.BetaTC(4.0, alpha=0.5, estimator="stratified"),
    "dip_vae": lambda: objectives.DIPVAE(2.0, 3.0, kind="II"),
    "info_vae": lambda: objectives.InfoVAE(0.5, 20.0, objectives.kernels.RBF(0.7)),
    "wae": lambda: objectives.WAE(3.0, objectives.kernels.InverseMultiquadratic([0.5, 2.0])),
    "sum": lambda: objectives.Sum(
        objectives.ELBO(), objectives.MMD(), objectives.TotalCorrelation(2.0), objectives.DIP(kind="II")
    ),
    "capacity": lambda: objectives.Capacity(keras_vae.schedules.LinearWarmup(9, end=4.0), 2.0, "batch", num_samples=2),
    "free_bits": lambda: objectives.FreeBits(0.1, [[1], [0]], "example", keras_vae.schedules.Cyclical(5, 2, 0.25)),
    "geco": lambda: objectives.GECO(-2.0, 0.01, 2.0, (0.1, 10.0), 0.5, 2),
}


def of_objective(name):
    return normal_vae(objective=OBJECTIVES[name]())


MODELS |= {name: functools.partial(of_objective, name) for name in OBJECTIVES}


# Of a kind with others that are not.
SLOW = {f"every_scale_of_{layer}" for layer in SCALED} - {
    "every_scale_of_IndependentNormal",
    "every_scale_of_MultivariateNormalLowRank",
}


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(make, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, make in MODELS.items()),
        *(pytest.param(functools.partial(of_case, case), id=case.name, marks=pytest.mark.slow) for case in CASES),
    ],
)
def test_a_model_comes_back_from_a_file(make, tmp_path):
    vae, x = make()
    unlike_new(vae, x)
    check_same(reload(vae, tmp_path), vae, x)


def test_every_class_that_can_be_saved_is_tried():
    configs = [json.dumps(make()[0].get_config()) for make in MODELS.values()]
    tried = {name for config in configs for name in re.findall(r'"registered_name": "(keras_vae>\w+)"', config)}
    assert {*tried, "keras_vae>VAE"} == set(registered_names())


@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "float64"])
def test_a_model_of_another_precision_comes_back(policy, tmp_path):
    """Whatever the policy is where it is loaded. (It is then a Sequential's own: so Keras has it, and to no effect.)"""
    with dtype_policy(policy):
        vae, x = normal_vae()
        unlike_new(vae, x)
        vae.save(tmp_path / "vae.keras")
        check_same(keras.saving.load_model(tmp_path / "vae.keras"), vae, x)
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    check_same(loaded, vae, x, configs=False)
    policies = [[layer.dtype_policy.name for layer in each.encoder.layers] for each in (loaded, vae)]
    assert policies[0] == policies[1] == [policy] * 3
    assert loaded.dtype_policy.name == loaded.prior.dtype_policy.name == policy
    assert isinstance(loaded.optimizer, type(vae.optimizer))


# Objectives, and how a model was compiled.


@keras.saving.register_keras_serializable("test_saving")
class Steps(schedules.LearningRateSchedule):
    """A schedule of the user's own."""

    def __init__(self, every):
        self.every = every

    def __call__(self, step):
        return keras.ops.cast(step // self.every, "float32")

    def get_config(self):
        return {"every": self.every}


WEIGHTS = {
    "zero": 0.0,
    "number": 4,
    "cosine": schedules.CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=5),
    "restarts": schedules.CosineDecayRestarts(1.0, 4),
    "exponential": schedules.ExponentialDecay(1.0, 5, 0.5, staircase=True),
    "inverse": schedules.InverseTimeDecay(1.0, 5, 0.5),
    "piecewise": schedules.PiecewiseConstantDecay([3, 6], [0.0, 0.5, 1.0]),
    "polynomial": schedules.PolynomialDecay(0.0, 10, end_learning_rate=1.0, cycle=True),
    "warm-up": keras_vae.schedules.LinearWarmup(6, end=2.0, delay=2),
    "cyclical": keras_vae.schedules.Cyclical(4, 2, 0.5),
    "own": Steps(3),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_comes_back(name):
    """As part of an objective in a model's configuration, as a file has it."""
    vae, _ = normal_vae(objective=objectives.ELBO(beta=WEIGHTS[name], num_samples=3))
    objective = keras.saving.deserialize_keras_object(json.loads(json.dumps(vae.get_config()["objective"])))
    assert objective.num_samples == 3 and type(objective.beta) is type(WEIGHTS[name])
    assert json.dumps(objective.get_config()) == json.dumps(vae.objective.get_config())
    for step in (0, 4, 7, 100):
        one, other = (weights_at(each, step)["kl"] for each in (objective, vae.objective))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True, "steps_per_execution": 3},
        {"jit_compile": False, "metrics": ["mse"]},
        {"jit_compile": "auto", "run_eagerly": True},
    ],
    ids=str,
)
def test_how_a_model_was_compiled_comes_back(options, tmp_path):
    rate = schedules.CosineDecay(1e-3, 100)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.1, clipnorm=1.0, use_ema=True, amsgrad=True)
    vae, x = normal_vae()
    vae.compile(optimizer, **options)
    unlike_new(vae, x)
    loaded = reload(vae, tmp_path)
    check_same(loaded, vae, x)
    assert loaded.optimizer.get_config() == optimizer.get_config()
    assert (loaded.jit_compile, loaded.run_eagerly) == (vae.jit_compile, vae.run_eagerly)
    assert loaded.compilation == vae.compilation
    assert (loaded.metrics_names, len(loaded.metrics)) == (vae.metrics_names, len(vae.metrics))


def test_a_model_that_was_never_compiled_comes_back(tmp_path):
    vae, x = normal_vae()
    vae.build(x.shape)
    check_same(reload(vae, tmp_path), vae, x)
