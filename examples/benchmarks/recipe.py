"""The recipe of mnist_benchmark.py by PyTorch alone: is a number that differs the library's, or the recipe's?

    python examples/benchmarks/recipe.py --data-dir FOLDER        # the ELBO, 500 epochs: 20 minutes on one core

It needs `pip install ".[bench]"`. FOLDER has mnist.npz. Images, networks, learning rates, batches and
the weights that are kept are that script's. Optimizer and initial weights are PyTorch's. The bound and the estimate of
log p(x) are written here. Nothing is keras_vae's.
"""

import argparse
import math
import pathlib
import sys

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from mnist_data import FIXED, binarised, load_mnist

# mnist_benchmark.py's. That script brings TensorFlow, which one process with PyTorch may not survive.
HIDDEN, LATENTS, BATCH, VALIDATION, SAMPLES = 400, 40, 100, 10_000, 200
EPOCHS, MILESTONES, RATE, FACTOR = 500, (200, 350), 1e-4, 10 ** (-1 / 5)
REPORTED, LOOKED_AT = 50, 2000  # epochs between two lines; test images for every second one's NLL
AT_ONCE = 50  # images whose log p(x) is estimated at once


class Recipe(nn.Module):
    """784 - 400 ReLU - 40 latents - 400 ReLU - 784 logits."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(784, HIDDEN)
        self.mean = nn.Linear(HIDDEN, LATENTS)
        self.log_variance = nn.Linear(HIDDEN, LATENTS)
        self.decoded = nn.Linear(LATENTS, HIDDEN)
        self.logits = nn.Linear(HIDDEN, 784)

    def posterior(self, x):
        hidden = torch.relu(self.hidden(x))
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, z):
        return self.logits(torch.relu(self.decoded(z)))

    def loss(self, x):
        """The negated ELBO, the mean over a batch."""
        mean, log_variance = self.posterior(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        nll = nn.functional.binary_cross_entropy_with_logits(self.decode(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
        return (nll + kl) / len(x)

    @torch.no_grad()
    def nll(self, x):
        """-log p(x), the mean over images, by draws from q(z|x)."""
        total = 0.0
        for part in x.split(AT_ONCE):
            mean, log_variance = self.posterior(part)
            noise = torch.randn(SAMPLES, *mean.shape)
            z = mean + torch.exp(0.5 * log_variance) * noise
            images = part.expand(SAMPLES, *part.shape)
            nll = nn.functional.binary_cross_entropy_with_logits(self.decode(z), images, reduction="none").sum(-1)
            log_weights = -nll - 0.5 * (z**2).sum(-1) + 0.5 * (log_variance + noise**2).sum(-1)
            total -= (torch.logsumexp(log_weights, 0) - math.log(SAMPLES)).sum().item()
        return total / len(x)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=pathlib.Path, required=True, help="a folder that holds mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=123, help="default: %(default)s, pythae's")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    train, validation, test = (
        torch.tensor(binarised(grey, FIXED, part), dtype=torch.float32).flatten(1)
        for part, grey in enumerate(load_mnist(args.data_dir, VALIDATION))
    )
    model = Recipe()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, MILESTONES, gamma=FACTOR)
    least, best = math.inf, None
    for epoch in range(1, args.epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad()
            loss = model.loss(train[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        with torch.no_grad():
            loss = model.loss(validation).item()
        if loss < least:
            least, best = loss, {name: value.clone() for name, value in model.state_dict().items()}
        if epoch % REPORTED == 0 or epoch <= 3:
            is_scored = epoch % (2 * REPORTED) == 0
            found = f", NLL of {LOOKED_AT:,} test images {model.nll(test[:LOOKED_AT]):.2f}" if is_scored else ""
            print(f"epoch {epoch}: loss {total * BATCH / len(train):.4f}, validation {loss:.4f}{found}", flush=True)
    model.load_state_dict(best)
    print(f"test NLL {model.nll(test):.2f}, of the weights with the least validation loss, {least:.2f}")


if __name__ == "__main__":
    main()
