"""Draws the plots of a run, one for each question.

    plots.py RESULTS.json

Writes SVG files beside the results; with `--png` PNG files, to look at.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

import report

WHARF, PROCESSES, THREADS, LIMIT = "#c4421a", "#8da9c4", "#cfd8c4", "#e9b949"
COLOURS = {"processes": PROCESSES, "threads": THREADS, "limit": LIMIT}
KINDS = {"wharf": WHARF, "other systems of processes": PROCESSES, "threads": THREADS,
         "the machine's limit": LIMIT}
DARK, PALE = "#222222", "#dddddd"
WIDTH = 10.0

plt.rcParams.update({
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": DARK, "axes.edgecolor": PALE,
    "axes.labelcolor": DARK, "xtick.color": DARK, "ytick.color": DARK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "svg.hashsalt": "wharf",
    "figure.facecolor": "white", "axes.facecolor": "white",
})

# File, title, and for each panel: question, title, unit.
BARS = [
    ("trips", "Round trip of an empty task", [
        ("trip", "back to back, median", "s"), ("idle", "after 1 ms idle, median", "s")]),
    ("throughput", "Empty tasks a second", [
        ("rate single", "submitted one by one", "/s"),
        ("rate batched", "by the system's own map", "/s")]),
    ("array", "{many} in the caller's memory until both workers have touched it", [
        ("reach cold many", "the first time", "s"), ("reach warm many", "again", "s")]),
    ("made", "{many} filled by the caller where workers read it, until both have touched it", [
        ("make warm many", "memory in use before, if the system keeps any", "s")]),
    ("result", "A result of {few}, filled by a worker, read by the caller", [
        ("result cold few", "the first time", "s"), ("result warm few", "again", "s")]),
    ("start", "From nothing until two workers have answered", [("start", "", "s")]),
]


def colour(system):
    return WHARF if system == "wharf" else COLOURS[report.kind_of(system)]


def bars(results, title, panels):
    samples = results["samples"]
    panels = [panel for panel in panels if panel[0] in samples]
    if not panels:
        return None
    systems = sorted({system for question, _, _ in panels for system in samples[question]},
                     key=lambda name: place(name, samples, panels), reverse=True)
    height = 1.25 + 0.27 * len(systems)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, height), sharey=True,
                                squeeze=False, layout="constrained")
    for axis, (question, name, unit) in zip(axes[0], panels):
        panel(axis, samples[question], systems, name, unit)
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    kinds = {WHARF if system == "wharf" else colour(system) for system in systems}
    handles = [Patch(color=shade, label=name) for name, shade in KINDS.items() if shade in kinds]
    figure.legend(handles=handles, loc="outside lower right", ncols=4, frameon=False)
    return figure


def place(system, samples, panels):
    """Best first, by the first panel that shows the system."""
    for at, (question, _, unit) in enumerate(panels):
        if system in samples[question]:
            value = report.median(samples[question][system])
            return at, -value if unit == "/s" else value
    return len(panels), 0


def panel(axis, samples, systems, name, unit):
    here = {system: report.median(samples[system]) for system in systems if system in samples}
    low, high = min(here.values()), max(here.values())
    axis.set_xscale("log")
    # Room for the numbers behind the longest bar.
    left = low / 3
    axis.set_xlim(left, high * (high / left) ** 0.45)
    for row, system in enumerate(systems):
        if system not in here:
            axis.text(left * 1.05, row, "no such thing, or not measured", va="center",
                      fontsize=7.5, color="#888888")
            continue
        value = here[system]
        axis.barh(row, value - left, left=left, height=0.74, color=colour(system))
        spread = report.spread(samples[system])
        axis.plot(spread, (row, row), color=DARK, linewidth=0.9)
        axis.text(max(value, spread[1]) * 1.08, row, report.shown(value, unit), va="center",
                  fontweight="bold" if system == "wharf" else "normal")
    labels = [system.removeprefix("limit: ") for system in systems]
    axis.set_yticks(range(len(systems)), labels)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == "wharf" else "normal")
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, unit)))
    axis.grid(axis="x", color=PALE, linewidth=0.6)
    axis.set_axisbelow(True)
    better = "more" if unit == "/s" else "less"
    axis.set_title(f"{name}  ({better} is better)".strip(), fontsize=9, loc="left")


def tick(value, unit):
    text = report.shown(value, unit)
    number, _, name = text.partition(" ")
    return f"{float(number):g} {name}".strip()


def grain(results):
    """Efficiency by the length of a task, and where it falls below a half."""
    panels = [("submitted one by one", [("single", "")]),
              ("by the system's own map, or a loop over an array",
               [("batched", ", map"), ("ranges", ", loop")])]
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 6.2), sharey=True, layout="constrained")
    drawn = [lines(axis, results, title, ways) for axis, (title, ways) in zip(axes, panels)]
    if not any(drawn):
        return None
    axes[0].set_ylabel("efficiency of two workers, %")
    figure.suptitle("The shortest task that is worth sending: METG(50 %), "
                    "where a curve falls below a half", fontsize=12, fontweight="bold",
                    x=0.01, ha="left")
    return figure


def lines(axis, results, title, ways):
    rows = []
    for how, words in ways:
        samples = results["samples"].get(f"metg {how}", {})
        curves = results["curves"].get(f"curve {how}", {})
        rows += [(report.median(values), system, words, curves[system])
                 for system, values in samples.items()]
    shades = iter(plt.get_cmap("tab20").colors)
    for value, system, words, curves in sorted(rows):
        is_ours = system == "wharf"
        points = middle(curves)
        axis.plot([x for x, _ in points], [100 * y for _, y in points],
                  "--" if words == ", loop" else "-", color=WHARF if is_ours else next(shades),
                  linewidth=2.6 if is_ours else 1.3, zorder=3 if is_ours else 2,
                  label=f"{report.shown(value, 's')}  {system}{words}")
    axis.axhline(50, color=DARK, linewidth=0.8)
    axis.set_xscale("log")
    axis.set_ylim(0, 112)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, "s")))
    axis.set_xlabel("length of a task")
    axis.grid(color=PALE, linewidth=0.6)
    axis.set_title(f"{title}  (less is better)", fontsize=9, loc="left")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False, fontsize=8,
                ncols=2)
    return rows


def middle(curves):
    """The medians of the rounds, point by point; rounds that went further have their own tail."""
    points = []
    for at in range(max(map(len, curves))):
        here = [curve[at] for curve in curves if at < len(curve)]
        points.append(tuple(report.median([point[axis] for point in here]) for axis in (0, 1)))
    return points


def main():
    source, ending = Path(sys.argv[1]), "png" if "--png" in sys.argv else "svg"
    results = json.loads(source.read_text())
    sizes = {part: report.size_name(mib) for part, mib in results["about"]["sizes_mib"].items()}
    figures = {name: bars(results, title.format(**sizes), panels) for name, title, panels in BARS}
    figures["grain"] = grain(results)
    for name, figure in figures.items():
        if figure:
            metadata = {"Date": None} if ending == "svg" else None
            figure.savefig(source.parent / f"{name}.{ending}", metadata=metadata, dpi=100)


if __name__ == "__main__":
    main()
