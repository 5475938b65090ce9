"""The results as one picture: a bar a contestant in each workload, and below, how keras_vae scales."""

import math

OURS, OTHERS, VOID = "tab:blue", "tab:gray", "lightgray"


def draw(results):
    """A matplotlib figure; no window opens."""
    from matplotlib.figure import Figure

    matches = [each for each in results["workloads"].values() if "contestants" in each]
    axes_of_scaling = list(results["scaling"].values())
    columns = 3 if len(matches) > 1 or axes_of_scaling else 1
    rows = [max(1, math.ceil(len(matches) / columns)), math.ceil(len(axes_of_scaling) / columns)]
    figure = Figure(figsize=(6.5 * columns, 3.6 * rows[0] + 3.2 * rows[1]), layout="constrained")
    panels = figure.subplots(sum(rows), columns, squeeze=False)
    for panel in panels.flat:
        panel.axis("off")
    for panel, match in zip(panels[: rows[0]].flat, matches, strict=False):
        _draw_match(panel, match)
    for panel, axis in zip(panels[rows[0] :].flat, axes_of_scaling, strict=False):
        _draw_axis(panel, axis)
    it = results["machine"]
    device = matches[0]["floor"]["device"] if matches else "CPU"
    figure.suptitle(f"{it['processor']}, {it['cores']} cores" + ("" if device == "CPU" else f", {device}"))
    return figure


def _draw_match(panel, match):
    """Images/s, the median of the rounds with their range, and the floor."""
    panel.axis("on")
    players = {name: each for name, each in match["contestants"].items() if "images_per_s" in each}
    ordered = sorted(players, key=lambda name: players[name]["images_per_s"])
    rates = [players[name]["images_per_s"] for name in ordered]
    spread = [
        [rate - min(players[name]["rates"]) for name, rate in zip(ordered, rates, strict=True)],
        [max(players[name]["rates"]) - rate for name, rate in zip(ordered, rates, strict=True)],
    ]
    colors = [
        VOID if players[name]["status"] == "void" else OURS if name == "keras_vae" else OTHERS for name in ordered
    ]
    labels = [players[name]["label"] + (" (void)" if players[name]["status"] == "void" else "") for name in ordered]
    panel.barh(labels, rates, color=colors, xerr=spread, error_kw={"ecolor": "black", "lw": 1, "capsize": 2})
    floor = match["floor"]["images_per_s"]
    panel.axvline(floor, color="tab:red", ls="--", label=f"matrix products alone: {floor:,.0f}")
    for row, (rate, color) in enumerate(zip(rates, colors, strict=True)):
        number = f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
        panel.text(0.01 * floor, row, number, va="center", color="black" if color == VOID else "white")
    panel.set_title(match["title"], fontsize=10)
    panel.set_xlabel("images/s")
    panel.locator_params("x", nbins=6)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xlim(0, 1.08 * max([floor, *rates]))
    panel.legend(loc="lower right", fontsize=8)


def _draw_axis(panel, axis):
    """Time and memory against a size, both logarithmic."""
    panel.axis("on")
    points = [point for point in axis["points"] if "failed" not in point]
    values = [point["value"] for point in points]
    (time,) = panel.loglog(values, [1e6 * point["seconds_per_image"] for point in points], "o-", color=OURS)
    panel.set_xlabel(axis["label"])
    panel.set_ylabel("µs an image", color=OURS)
    panel.set_xticks(values, [f"{value:,}" for value in values])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    beside = panel.twinx()
    (memory,) = beside.plot(values, [point["memory_mb"] for point in points], "s--", color="tab:orange")
    beside.set_ylim(0, 1.6 * max([1.0, *(point["memory_mb"] for point in points)]))  # leaves room for the legend
    beside.set_ylabel("memory, MiB", color="tab:orange")
    panel.set_title(f"keras_vae: {axis['label']}", fontsize=10)
    panel.legend([time, memory], ["time", "memory beyond the libraries'"], fontsize=8, loc="upper left")
