"""A VAE in PyTorch: data on the device, batches by index, Adam fused, nothing fetched within an epoch."""

import itertools
import math
import time

import torch
from torch import nn
from torch.nn import functional

from contestants.base import DRAWS_AT_ONCE, EPSILON, LEARNING_RATE, SCORED_AT_ONCE, Contestant


def build(workload, train, seed, compiled):
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU that has it, as TensorFlow and JAX do by themselves
    return PyTorch(workload, train, compiled)


def networks(workload):
    """Encoder and decoder, from x to mean and log-variance of z, and from z to the likelihood's parameters."""
    if workload.convolutional:
        encoder = nn.Sequential(
            SamePadding(1, 32, image=28),
            nn.ReLU(),
            SamePadding(32, 64, image=14),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(7 * 7 * 64, 16),
            nn.ReLU(),
            nn.Linear(16, 2 * workload.latent),
        )
        decoder = nn.Sequential(
            nn.Linear(workload.latent, 7 * 7 * 64),
            nn.ReLU(),
            nn.Unflatten(1, (64, 7, 7)),
            nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, padding=1),
        )
    else:
        activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[workload.activation]
        encoder = dense([workload.event_size, *workload.hidden, 2 * workload.latent], activation)
        outputs = workload.parameters * workload.event_size
        decoder = dense([workload.latent, *reversed(workload.hidden), outputs], activation)
    for module in [*encoder.modules(), *decoder.modules()]:
        if hasattr(module, "bias"):  # Keras's law of the initial weights
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return encoder, decoder


def dense(widths, activation):
    parts = []
    for inputs, outputs in itertools.pairwise(widths):
        parts += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*parts[:-1])


class SamePadding(nn.Conv2d):
    """A 3x3 convolution of stride 2 over an even image, padded as Keras's "same": below and to the right."""

    def __init__(self, inputs, outputs, image):
        super().__init__(inputs, outputs, 3, stride=2)
        assert image % 2 == 0

    def forward(self, x):
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


class PyTorch(Contestant):
    def __init__(self, workload, train, compiled):
        super().__init__(workload, train)
        self.place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.images = self._tensor(train)
        encoder, decoder = networks(workload)
        self.encoder, self.decoder = encoder.to(self.place), decoder.to(self.place)
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, LEARNING_RATE, eps=EPSILON, fused=True)
        # The short last batch is one more program, and no reason for one of any size.
        self.loss = torch.compile(self._loss, dynamic=False) if compiled else self._loss
        self.estimate = torch.compile(self._estimate, dynamic=False) if compiled else self._estimate

    def posterior(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def negative_log_prob(self, x, z):
        """-log p(x|z), `[S, B]`, of x `[B, *event]` and z `[S, B, D]`."""
        outputs = self.decoder(z.flatten(0, 1)).view(*z.shape[:2], -1)
        x = x.flatten(1)
        if self.workload.likelihood == "bernoulli":
            targets = x.expand_as(outputs)
            return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(-1)
        mean, log_variance = outputs.chunk(2, dim=-1)
        squares = (x - mean).square() * torch.exp(-log_variance)
        return 0.5 * (squares + log_variance + math.log(2 * math.pi)).sum(-1)

    def log_weights(self, x, mean, log_variance, draws):
        """log p(x|z) + log p(z) - log q(z|x), `[S, B]`: the constants of the two Gaussians cancel."""
        noise = torch.randn((draws, *mean.shape), device=self.place)
        z = mean + torch.exp(0.5 * log_variance) * noise
        log_ratio = 0.5 * (noise.square() - z.square() + log_variance).sum(-1)
        return log_ratio - self.negative_log_prob(x, z)

    def _loss(self, x):
        mean, log_variance = self.posterior(x)
        draws = self.workload.num_samples
        if self.workload.objective == "iwae":
            return math.log(draws) - torch.logsumexp(self.log_weights(x, mean, log_variance, draws), 0).mean()
        z = mean + torch.exp(0.5 * log_variance) * torch.randn((draws, *mean.shape), device=self.place)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return self.negative_log_prob(x, z).mean() + kl.mean()

    def _step(self, x):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def first_step(self):
        self._step(self.images[: self.workload.batch_size]).item()

    def train(self, epochs):
        seconds, start = [], time.perf_counter()
        for _ in range(epochs):
            order = torch.randperm(len(self.images), device=self.place)
            losses = [self._step(self.images[rows]) for rows in order.split(self.workload.batch_size)]
            torch.stack(losses).mean().item()  # waits for the device, once an epoch
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
        return {"setup_s": 0.0, "epoch_s": seconds}

    @torch.no_grad()
    def bound(self, images):
        batches = self._tensor(images).split(200)
        return -sum(self._loss(x).item() * len(x) for x in batches) / len(images)

    @torch.no_grad()
    def log_likelihood(self, images):
        batches = self._tensor(images).split(SCORED_AT_ONCE)
        return sum(self._log_likelihood(x).item() * len(x) for x in batches) / len(images)

    def _log_likelihood(self, x):
        mean, log_variance = self.posterior(x)
        blocks = self.workload.importance_samples // DRAWS_AT_ONCE
        total = torch.full((len(x),), -math.inf, device=self.place)
        for _ in range(blocks):
            total = torch.logaddexp(total, self.estimate(x, mean, log_variance))
        return total.mean() - math.log(blocks * DRAWS_AT_ONCE)

    def _estimate(self, x, mean, log_variance):
        """log of the sum of a block's importance weights, `[B]`."""
        return torch.logsumexp(self.log_weights(x, mean, log_variance, DRAWS_AT_ONCE), 0)

    def _tensor(self, images):
        tensor = torch.from_numpy(images).to(self.place)
        return tensor.permute(0, 3, 1, 2).contiguous() if self.workload.convolutional else tensor

    def device(self):
        return torch.cuda.get_device_name() if self.place.type == "cuda" else "CPU"

    def device_peak_bytes(self):
        return torch.cuda.max_memory_allocated() if self.place.type == "cuda" else None
