"""One workload: everybody builds, warms up, and takes turns; then everybody is examined."""

import math
import statistics
import sys

import numpy as np
import workloads
from contestants import CONTESTANTS
from process import Failed, Process, worker

FLOOR_SECONDS = 2.0  # of matrix products, a round
WAITED_EPOCHS = 5  # at most: those that are watched for their first batch's wait


def play(workload, effort, names, folder, seed):
    """The results of a workload, as JSON takes them.

    Args:
        workload: a `Workload`.
        effort: how much of it to do.
        names: contestants, each with why it cannot run here, or None.
        folder: where the prepared data is.
        seed: of weights and noise.
    """
    floor = Process("floor.py", workload=workloads.to_dict(workload))
    players = []
    try:
        ground = {**floor.ask("start"), **floor.ask("copy"), "rounds": []}
        for name, reason in names.items():
            player = Player(name, workload, effort, folder, seed, reason)
            players.append(player)
            player.attempt(player.prepare)
            print(f"  {name}: {player.result['status']}", file=sys.stderr)
        for index in range(effort.rounds):
            ground["rounds"].append(floor.ask("round", seconds=FLOOR_SECONDS))
            for player in _rotated(players, index):
                player.attempt(player.round)
            print(f"  round {index + 1} of {effort.rounds}", file=sys.stderr)
        for player in players:
            player.attempt(player.examine)
    finally:
        for each in [floor, *players]:
            each.close()
    ground["images_per_s"] = statistics.median(each["images_per_s"] for each in ground["rounds"])
    results = {player.name: player.summary() for player in players}
    referee(results, effort.tolerance)
    return {
        "title": workload.title,
        "workload": workloads.to_dict(workload),
        "effort": vars(effort),
        "floor": ground,
        "contestants": results,
    }


def referee(results, tolerance):
    """Marks as void whose test bound (or log p(x)) is further than `tolerance` nats from the median of all."""
    finished = [result for result in results.values() if result["status"] == "ok"]
    finite = [result["nats"] for result in finished if math.isfinite(result["nats"])]
    median = statistics.median(finite) if finite else math.nan
    for result in finished:
        if not abs(result["nats"] - median) <= tolerance:  # which no NaN is
            result["status"] = "void"
            result["reason"] = f"{result['nats']:.2f} nats, more than {tolerance:g} from the median {median:.2f}"


class Player:
    """A contestant in one workload: its process, and what was measured of it."""

    def __init__(self, name, workload, effort, folder, seed, reason):
        self.name, self.workload, self.effort = name, workload, effort
        self.result = {"label": CONTESTANTS[name].label, "status": "ok" if reason is None else "skipped"}
        self.rounds, self.process = [], None
        if reason is None:
            self.process = worker(name, workload, folder, seed)
        else:
            self.result["reason"] = reason

    def attempt(self, action):
        """Does it, if this one is still in; if it fails, this one is out."""
        if self.result["status"] == "ok":
            try:
                action()
            except Failed as failure:
                self.result.update(status="failed", reason=str(failure))

    def prepare(self):
        """Builds the model, takes the first step, and warms up."""
        self.result.update(self.process.ask("start"))
        self.result.update(self.process.ask("build"))
        warm_up = self.process.ask("train", epochs=1)
        self.result["warm_up_s"] = warm_up["setup_s"] + sum(warm_up["epoch_s"])
        if self.workload.importance_samples:
            self.process.ask("train", epochs=self.effort.epochs)
            # The first estimate compiles: that is its first step.
            self.result["first_step_s"] = self.process.ask("score", images=self.effort.scored_images)["seconds"]

    def round(self):
        """One round: epochs, or estimates of log p(x), by the clock."""
        if self.workload.importance_samples:
            self.rounds.append(self.process.ask("score", images=self.effort.scored_images))
            return
        epochs = self.process.ask("train", epochs=self.effort.epochs)
        self.rounds.append({**epochs, **self.process.ask("bound")})

    def examine(self):
        """What else there is to know: the nats that it reached, its waits, its memory.

        The bound that counts is the best after any round: a learned sigma makes training jump down now and then (by 70
        nats on the Frey Faces), and the last round's end may fall into such a moment.
        """
        if self.workload.importance_samples:
            self.result["nats"] = statistics.mean(each["log_p"] for each in self.rounds)
        else:
            self.result.update(self.process.ask("waits", epochs=min(WAITED_EPOCHS, self.effort.epochs)))
            # Python's `max` would pass over a NaN that is not the first.
            self.result["nats"] = float(np.max([each["bound"] for each in self.rounds]))
        self.result.update(self.process.ask("memory"))

    def summary(self):
        """All of it, as JSON takes it."""
        if self.result["status"] != "ok":
            return self.result
        if self.workload.importance_samples:
            rates = [self.effort.scored_images / each["seconds"] for each in self.rounds]
        else:
            images = self.effort.train_images
            rates = [images * len(each["epoch_s"]) / sum(each["epoch_s"]) for each in self.rounds]
            epochs = [second for each in self.rounds for second in each["epoch_s"]]
            self.result["setup_s"] = statistics.median(each["setup_s"] for each in self.rounds)
            self.result["slowest_epoch_excess_s"] = max(epochs) - statistics.median(epochs)
        return {**self.result, "rounds": self.rounds, "rates": rates, "images_per_s": statistics.median(rates)}

    def close(self):
        if self.process is not None:
            self.process.close()


def _rotated(players, by):
    """The players, another one first each round."""
    by %= len(players)
    return players[by:] + players[:by]
