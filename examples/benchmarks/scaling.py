"""How keras_vae's time and memory grow, one size at a time, from the first workload's VAE on images of noise."""

import dataclasses
import pathlib
import statistics
import sys
import tempfile

import data
from process import Failed, worker
from workloads import WORKLOADS, Effort

EFFORT = Effort(train_images=4_000, epochs=2, rounds=1, test_images=200)
BASE = dataclasses.replace(WORKLOADS["mlp"], data="uniform")
SCORED_IMAGES = 52


@dataclasses.dataclass(frozen=True)
class Axis:
    """A size that grows: what it is called, the field of a `Workload` that holds it, and its values."""

    label: str
    field: str
    values: tuple
    quick: tuple

    def workload(self, value):
        """The base workload with this size."""
        return dataclasses.replace(BASE, **{self.field: (value,) if self.field == "event_shape" else value})


AXES = {
    "batch": Axis("batch size", "batch_size", (10, 50, 200, 1000), (20, 200)),
    "event": Axis("event size", "event_shape", (98, 392, 1568, 6272), (392, 1568)),
    "latent": Axis("latent size", "latent", (2, 20, 200, 1000), (20, 200)),
    "num_samples": Axis("L, draws of z a step", "num_samples", (1, 4, 16, 64), (1, 8)),
    "importance_samples": Axis("draws of z to estimate log p(x)", "importance_samples", (50, 500, 5000), (100, 1000)),
}


def measure(name, quick, seed):
    """Seconds an image, and peak memory, for each value of an axis: `{"label": ..., "points": [...]}`."""
    axis = AXES[name]
    points = []
    for value in axis.quick if quick else axis.values:
        print(f"scaling, {axis.label} {value}", file=sys.stderr)
        points.append({"value": value, **_point(axis.workload(value), seed)})
    return {"label": axis.label, "points": points}


def _point(workload, seed):
    with tempfile.TemporaryDirectory() as folder:
        data.prepare(workload, EFFORT, None, pathlib.Path(folder))
        process = worker("keras_vae", workload, folder, seed)
        try:
            start = process.ask("start")
            process.ask("build")
            if workload.importance_samples:
                process.ask("score", images=SCORED_IMAGES)
                seconds = [process.ask("score", images=SCORED_IMAGES)["seconds"] / SCORED_IMAGES for _ in range(3)]
            else:
                process.ask("train", epochs=1)
                epochs = process.ask("train", epochs=EFFORT.epochs)["epoch_s"]
                seconds = [each / EFFORT.train_images for each in epochs]
            memory = process.ask("memory")
        except Failed as failure:
            return {"failed": str(failure)}
        finally:
            process.close()
    # On an accelerator its memory is what grows; on a CPU, what the process holds beyond the imported libraries.
    held = memory["device_peak_mb"]
    return {
        "seconds_per_image": statistics.median(seconds),
        "memory_mb": memory["peak_mb"] - start["start_peak_mb"] if held is None else held,
    }
