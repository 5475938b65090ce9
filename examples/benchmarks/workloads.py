"""What is trained, on what, and for how long: one row a workload."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much of a workload one run does. Every contestant does exactly this much."""

    train_images: int  # an epoch
    epochs: int  # a round
    rounds: int
    test_images: int  # scored at the end, for the comparison of their bounds
    scored_images: int = 0  # a round, where log p(x) is what is timed
    tolerance: float = 0.0  # nats: how far a contestant's test bound may lie from the median of all


@dataclasses.dataclass(frozen=True)
class Workload:
    """A VAE and its data. The same initial weights' law, optimizer (Adam, 1e-3) and batches for every contestant."""

    title: str
    data: str  # "mnist", "freyfaces" or "uniform"
    event_shape: tuple
    latent: int
    batch_size: int
    full: Effort
    quick: Effort
    hidden: tuple = ()  # widths of the encoder's hidden layers; the decoder's are the same, mirrored
    activation: str = "tanh"
    likelihood: str = "bernoulli"  # or "gaussian", with a log-variance for each element
    num_samples: int = 1  # draws of z an example and step
    objective: str = "elbo"  # or "iwae", equation 8 of Burda et al. (arXiv 1509.00519), all of it by the draws
    importance_samples: int = 0  # draws of z an example to estimate log p(x) with; if not 0, that is what is timed

    @property
    def convolutional(self):
        return not self.hidden

    @property
    def bound(self):
        """What the bound is called that is trained, and that is compared at the end."""
        return {"elbo": "ELBO", "iwae": "IWAE bound"}[self.objective]

    @property
    def event_size(self):
        return math.prod(self.event_shape)

    @property
    def parameters(self):
        """Numbers that the likelihood takes, an element of the event."""
        return 2 if self.likelihood == "gaussian" else 1


# Tolerances are five standard deviations over seeds, rounded up, as `spread.py --quick` measured them: 0.3 nats (mlp),
# 2.6 (conv), 15.7 (frey), 1.3 (samples) and 0.6 (log_p). The full efforts keep those.
WORKLOADS = {
    "mlp": Workload(
        title="MLP 784-500-20, batch 100, MNIST",
        data="mnist",
        event_shape=(784,),
        hidden=(500,),
        latent=20,
        batch_size=100,
        full=Effort(train_images=60_000, epochs=2, test_images=10_000, rounds=5, tolerance=1.5),
        quick=Effort(train_images=20_000, epochs=2, test_images=2_000, rounds=3, tolerance=1.5),
    ),
    "conv": Workload(
        title="convolutional (the Keras site's architecture), batch 128, MNIST",
        data="mnist",
        event_shape=(28, 28, 1),
        activation="relu",
        latent=2,
        batch_size=128,
        full=Effort(train_images=10_000, epochs=1, test_images=10_000, rounds=3, tolerance=13.0),
        quick=Effort(train_images=5_000, epochs=1, test_images=2_000, rounds=3, tolerance=13.0),
    ),
    "frey": Workload(
        title="Frey Faces Gaussian 560-200-10, per-element sigma, batch 100",
        data="freyfaces",
        event_shape=(560,),
        hidden=(200,),
        latent=10,
        batch_size=100,
        likelihood="gaussian",
        full=Effort(train_images=1_765, epochs=50, test_images=200, rounds=5, tolerance=80.0),
        quick=Effort(train_images=1_765, epochs=40, test_images=200, rounds=3, tolerance=80.0),
    ),
    "samples": Workload(
        title="IWAE bound of 50 samples, MLP 784-200-200-50, batch 20, MNIST",
        data="mnist",
        event_shape=(784,),
        hidden=(200, 200),
        latent=50,
        batch_size=20,
        num_samples=50,
        objective="iwae",
        full=Effort(train_images=5_000, epochs=1, test_images=2_000, rounds=3, tolerance=7.0),
        quick=Effort(train_images=2_000, epochs=1, test_images=1_000, rounds=3, tolerance=7.0),
    ),
    "log_p": Workload(
        title="log p(x) of the first workload's VAE, 5,000 samples an image, MNIST",
        data="mnist",
        event_shape=(784,),
        hidden=(500,),
        latent=20,
        batch_size=100,
        importance_samples=5_000,
        full=Effort(train_images=20_000, epochs=2, test_images=10_000, scored_images=100, rounds=3, tolerance=3.0),
        quick=Effort(train_images=20_000, epochs=1, test_images=2_000, scored_images=60, rounds=3, tolerance=3.0),
    ),
}


def to_dict(workload):
    """A workload as JSON takes it."""
    return dataclasses.asdict(workload)


def from_dict(fields):
    """The workload that `to_dict` wrote."""
    tuples = {name: tuple(fields[name]) for name in ("event_shape", "hidden")}
    efforts = {name: Effort(**fields[name]) for name in ("full", "quick")}
    return Workload(**{**fields, **tuples, **efforts})
