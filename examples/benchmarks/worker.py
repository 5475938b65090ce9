"""A contestant's process: commands come in on stdin, answers go out on stdout, a line of JSON each.

    python worker.py '{"contestant": ..., "workload": {...}, "folder": ..., "seed": ...}'

A process each, so that libraries share no thread pool and memory is each one's own; and it stays, so that rounds of
one contestant can be interleaved with everybody else's.
"""

import pathlib
import resource
import sys
import time

import data
import workloads
from contestants import CONTESTANTS
from serving import serve


class Server:
    """Carries out commands: the public methods, by name."""

    def __init__(self, contestant, workload, folder, seed):
        self.entry, self.seed = CONTESTANTS[contestant], seed
        self.workload = workloads.from_dict(workload)
        self.train_images, self.test_images = data.load(pathlib.Path(folder))

    def start(self):
        """Imports the framework, and says what this process is."""
        self.entry.load()
        return {"versions": self.entry.versions(), "start_peak_mb": peak_megabytes()}

    def build(self):
        """Builds the model, then takes the first step: seconds of each."""
        start = time.perf_counter()
        self.contestant = self.entry.build(self.workload, self.train_images, self.seed)
        built = time.perf_counter()
        self.contestant.first_step()
        stepped = time.perf_counter()
        return {"build_s": built - start, "first_step_s": stepped - built, "device": self.contestant.device()}

    def train(self, epochs):
        """Trains: seconds before the first epoch and of each."""
        return self.contestant.train(epochs)

    def waits(self, epochs):
        """Trains, and tells for how long each epoch waited for its first batch."""
        return {"waits_s": self.contestant.waits(epochs)}

    def bound(self):
        """The bound that was trained, of the test images."""
        return {"bound": float(self.contestant.bound(self.test_images))}

    def score(self, images):
        """log p(x) of the first test images, and the seconds that it took."""
        start = time.perf_counter()
        log_p = float(self.contestant.log_likelihood(self.test_images[:images]))
        return {"log_p": log_p, "seconds": time.perf_counter() - start}

    def memory(self):
        """The most memory that this process, and it on the accelerator, have held so far."""
        held = self.contestant.device_peak_bytes()
        return {"peak_mb": peak_megabytes(), "device_peak_mb": None if held is None else held / 2**20}


def peak_megabytes():
    """This process's largest resident set, MiB."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # Linux's `ru_maxrss` would count the parent's too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    serve(Server, sys.argv[1])
