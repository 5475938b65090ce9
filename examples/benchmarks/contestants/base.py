"""What every contestant can do."""

LEARNING_RATE = 1e-3
EPSILON = 1e-7  # Adam's, as Keras sets it

# Importance sampling: images at a time, and draws an image that go through the decoder at once.
SCORED_AT_ONCE = 20
DRAWS_AT_ONCE = 50


class Contestant:
    """A VAE in some framework, built and ready for its first step.

    Args:
        workload: a `Workload`.
        train: float32 `[N, *event]`, in 0..1.
    """

    def __init__(self, workload, train):
        self.workload, self.train_images = workload, train

    def first_step(self):
        """Trains on the first batch, compiling what must be compiled."""
        raise NotImplementedError

    def train(self, epochs):
        """Trains for this many epochs, each over every image in a new order.

        Returns `{"setup_s": seconds before the first epoch began, "epoch_s": [seconds an epoch]}`.
        """
        raise NotImplementedError

    def waits(self, epochs):
        """Trains as `train` does, and returns seconds from each epoch's begin until its first batch was done, less the
        median batch: what it waited for data. None where no hook tells.
        """
        self.train(epochs)

    def bound(self, images):
        """The mean of the bound that it trains, the workload's `objective`, nats an image."""
        raise NotImplementedError

    def log_likelihood(self, images):
        """The mean of log p(x), importance sampled, nats an image."""
        raise NotImplementedError

    def device(self):
        """What it runs on: "CPU" or the accelerator's name."""
        raise NotImplementedError

    def device_peak_bytes(self):
        """The most of an accelerator's memory that it held, or None on a CPU."""
        return None
