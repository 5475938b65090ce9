"""What runs of papers share: training that may be killed at any time, its records and scores."""

import argparse
import csv
import datetime
import importlib.util
import json
import math
import os
import pathlib
import sys
import time

import numpy as np
from mnist_data import FIXED

import keras_vae

SECONDS = 60  # of training, after which a run is saved, at the end of an epoch
ACTIVE_ABOVE = 0.01  # of the variance of a unit's posterior means: Burda et al., section 5.2


def parser_of(description, out):
    """What both scripts are told on the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="FOLDER", help="where mnist.npz is")
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", default=out, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="makes the run repeatable; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="few images, epochs and samples: to see that all works")
    return parser


def check_arguments(parser, args, **least):
    """Tries what could fail after training before it: integers with the least they may be, matplotlib, the folder."""
    for name, smallest in {**least, "seed": 0}.items():
        value = getattr(args, name)
        if not smallest <= value < 2**31:
            option = name.replace("_", "-")
            parser.error(f"--{option}: expected an integer from {smallest} to 2**31 - 1; received: {value}")
    if importlib.util.find_spec("matplotlib") is None:
        parser.error('needs matplotlib. To install it: pip install "keras_vae[examples]"')
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: cannot make the folder {args.out}: {error.strerror}")


def score(vae, x, num_samples):
    """How test images score: -log p(x) by importance sampling, its standard error, the bound, active units."""
    # No noise of this depends on the run, so that two runs differ by their weights alone.
    log_p = vae.log_likelihood(x, num_samples, seed=FIXED, verbose="auto" if sys.stdout.isatty() else 0)
    scores = vae.evaluate(x, batch_size=500, verbose=0, return_dict=True)
    activity = np.asarray(keras_vae.evaluation.activity(vae.transform(x, verbose=0)))
    return {
        "nll": float(-log_p.mean(dtype="float64")),
        "standard_error": float(log_p.std(ddof=1) / math.sqrt(len(log_p))),
        "num_samples": num_samples,
        "elbo": float(scores["elbo"]),
        "kl": float(scores["kl"]),
        "active_units": int((activity > ACTIVE_ABOVE).sum()),
    }


class Run:
    """A VAE in training, in three files from which the same command goes on, wherever it was killed.

        NAME.keras    the model after an epoch, with its optimizer and its random state
        NAME.csv      the curve, a row an epoch
        NAME.json     the settings, and the results: what was scored after how many epochs

    An epoch is a function of the model before it, so that a killed run ends as one that was never stopped. Where the
    model is behind the others, as after a kill or where an earlier one was put in its place, they are cut to it.

    Args:
        folder, name: of the files.
        settings: a dictionary. A run of others is not gone on with.
        build: a function that makes the untrained model, compiled.
        batch_size: images a step.
        num_images: images an epoch. They fill whole batches.

    Attributes:
        vae: the model.
        epochs: how many it has been trained for.

    Raises:
        ValueError: the folder holds a run of this name with other settings.
    """

    def __init__(self, folder, name, settings, build, batch_size, num_images):
        self.settings, self.batch_size, self.steps = settings, batch_size, num_images // batch_size
        self.model_file, self.curve_file, self.record_file = (
            folder / f"{name}.{kind}" for kind in ("keras", "csv", "json")
        )
        self.best_file = folder / f"{name}_best.weights.h5"
        record = json.loads(self.record_file.read_text()) if self.record_file.exists() else {"settings": settings}
        if record["settings"] != settings:
            raise ValueError(
                f"{self.record_file} is of a run of other settings: expected {record['settings']}; received: {settings}"
            )
        self.vae = keras_vae.load_model(self.model_file) if self.model_file.exists() else build()
        self.results = [result for result in record.get("results", []) if result["epochs"] <= self.epochs]
        self.curve = [row for row in read_curve(self.curve_file) if row["epoch"] <= self.epochs]
        self.save_record()

    @property
    def epochs(self):
        return int(self.vae.optimizer.iterations) // self.steps

    def train(self, until, images_of, validation, keep_best=False):
        """Trains until so many epochs are done.

        Args:
            until: epochs, in all.
            images_of: from the number of an epoch to its images, float32.
            validation: images to validate on after each.
            keep_best: whether the weights with the best loss on these are kept, in `best_file`.
        """
        saved = time.monotonic()
        while self.epochs < until:
            epoch, began = self.epochs, time.monotonic()
            data = {"x": images_of(epoch), "validation_data": validation, "validation_batch_size": 500}
            logs = self.vae.fit(**data, batch_size=self.batch_size, check_data=False, verbose=0).history
            now = time.monotonic()
            row = {"epoch": epoch + 1, "seconds": now - began, **{name: values[0] for name, values in logs.items()}}
            if not math.isfinite(row["loss"]):
                sys.exit(f"{self.model_file}: the loss of epoch {epoch + 1} is {row['loss']}. The file has one before.")
            self.curve.append(row)
            if keep_best and row["val_loss"] == min(each["val_loss"] for each in self.curve):
                replace(self.best_file, self.vae.save_weights)
            if is_due := now - saved > SECONDS or self.epochs == until:
                self.save()
                saved = time.monotonic()
            self.report(until, end="\n" if is_due else "\r")

    def best(self):
        """Another model, with the weights that `keep_best` has kept, and the epoch that they are of."""
        vae = keras_vae.load_model(self.model_file)
        vae.load_weights(self.best_file)
        return vae, int(min(self.curve, key=lambda row: row["val_loss"])["epoch"])

    def save(self):
        """Writes the curve and the model, in this order: rows of epochs that the model has not seen are dropped."""
        replace(self.curve_file, self.write_curve)
        replace(self.model_file, self.vae.save)

    def write_curve(self, path):
        with path.open("w", newline="") as file:
            rows = csv.DictWriter(file, self.curve[0], lineterminator="\n")
            rows.writeheader()
            rows.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in self.curve)

    def add_result(self, **result):
        """Adds what was scored of the model as it stands."""
        minutes = sum(row["seconds"] for row in self.curve) / 60
        self.results.append({"epochs": self.epochs, **result, "minutes_of_training": round(minutes, 2)})
        self.save_record()

    def save_record(self):
        record = {"settings": self.settings, "results": self.results}
        replace(self.record_file, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))

    def report(self, until, end):
        """A line on the last epoch; on a terminal one that is due to be overwritten, too."""
        if end == "\r" and not sys.stdout.isatty():
            return
        recent = sorted(row["seconds"] for row in self.curve[-5:])[len(self.curve[-5:]) // 2]
        left = datetime.timedelta(seconds=round((until - self.epochs) * recent))
        rate, row = self.steps * self.batch_size / recent, self.curve[-1]
        print(
            f"  epoch {self.epochs:,} of {until:,}, {rate:,.0f} images/s, {left} left; "
            f"loss {row['loss']:.2f}, validation {row['val_loss']:.2f}",
            end=f"   {end}",
            flush=True,
        )


def replace(path, save):
    """Writes a file beside it first: whoever is killed meanwhile leaves the old one whole."""
    unfinished = path.with_name(f"unfinished_{path.name}")
    save(unfinished)
    os.replace(unfinished, path)


def records_of(folder, objectives):
    """The records of a folder's runs that have results, each with its curve, in the order of their objectives."""
    files = folder.glob("*.json")
    records = [{**json.loads(file.read_text()), "curve": read_curve(file.with_suffix(".csv"))} for file in files]
    records = [record for record in records if record["results"] and record["settings"]["objective"] in objectives]
    return sorted(records, key=lambda r: (list(objectives).index(r["settings"]["objective"]), r["settings"].get("k")))


def read_curve(path):
    """The rows of a curve's file, numbers by name; none where there is no file."""
    if not path.exists():
        return []
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def markdown(headings, rows):
    """A table as Markdown, numbers to the right."""
    lines = [headings, ["---:"] * len(headings), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
