"""The table of a run: a summary with a line for each question, then each system's numbers.

    report.py RESULTS.json > table.md
"""

import json
import sys
from statistics import median, quantiles

THREADS = ["rayon", "crossbeam-channel"]
# Question, what it is called, and its unit: seconds, or tasks a second, of which more is better.
TASKS = [
    ("trip", "round trip, p50", "s"),
    ("trip mean", "round trip, mean", "s"),
    ("idle", "after 1 ms idle, p50", "s"),
    ("idle mean", "after 1 ms idle, mean", "s"),
]
RATES = [
    ("rate single", "tasks/s, one by one", "/s"),
    ("rate batched", "tasks/s, by its own map", "/s"),
    ("metg single", "METG, one by one", "s"),
    ("metg batched", "METG, by its own map", "s"),
    ("metg ranges", "METG, loop over an array", "s"),
]
START = [("start", "two workers have answered", "s"), ("stop", "and have ended", "s")]


def arrays(part, size):
    return [
        (f"put cold {part}", f"put {size}, first", "s"),
        (f"put warm {part}", f"put {size}, again", "s"),
        (f"reach cold {part}", f"put {size} and both touch it, first", "s"),
        (f"reach warm {part}", f"put {size} and both touch it, again", "s"),
        (f"sum cold {part}", "then both sum all of it, first", "s"),
        (f"sum warm {part}", "then both sum all of it, again", "s"),
        (f"make warm {part}", f"{size} made, filled and touched by both", "s"),
    ]


def results_of(part, size):
    return [
        (f"result cold {part}", f"result of {size} made and read, first", "s"),
        (f"result warm {part}", f"result of {size} made and read, again", "s"),
    ]


def groups(about):
    sizes = {part: size_name(mib) for part, mib in about["sizes_mib"].items()}
    return [
        ("Round trips of an empty task", TASKS, ["trip", "idle"]),
        ("Throughput and the smallest useful task", RATES, ["rate single", "rate batched"]),
        *((f"An array of {size}", arrays(part, size), [f"reach warm {part}", f"make warm {part}"])
          for part, size in sizes.items()),
        ("A large result", results_of("few", sizes["few"]), ["result warm few"]),
        ("Start and end", START, ["start"]),
    ]


def size_name(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else f"{mib} MiB"


def kind_of(system):
    if system.startswith("limit: "):
        return "limit"
    return "threads" if system in THREADS else "processes"




def spread(values):
    """The quartiles, or both ends where there are few."""
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def step_of(value, unit):
    if unit == "/s":
        steps = [(1e9, " G"), (1e6, " M"), (1e3, " k"), (1, "")]
    else:
        steps = [(1, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")]
    return next((step for step in steps if value >= step[0]), steps[-1])


def digits(number):
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f}"


def shown(value, unit):
    step, name = step_of(value, unit)
    return digits(value / step) + name


def cell(values, unit):
    if len(values) == 1:
        return shown(values[0], unit)
    step, name = step_of(median(values), unit)
    low, high = (digits(end / step) for end in spread(values))
    return f"{digits(median(values) / step)}{name} [{low}–{high}]"


def ranked(samples, unit, kind):
    """The systems of a kind that have an answer, the best first, with their medians."""
    rows = [(system, median(values)) for system, values in samples.items()
            if kind_of(system) == kind]
    return sorted(rows, key=lambda row: row[1], reverse=unit == "/s")


def times(better, worse, unit):
    ratio = better / worse if unit == "/s" else worse / better
    return f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:,.0f}"


def named(row, unit):
    return f"{shown(row[1], unit)}, {row[0].removeprefix('limit: ')}"


def summary(results):
    lines = ["| question | wharf | best other system of processes | wharf to the best "
             "| threads | the machine's limit |", "|---|---|---|---|---|---|"]
    for _, questions, _ in groups(results["about"]):
        for question, name, unit in questions:
            samples = results["samples"].get(question, {})
            processes = ranked(samples, unit, "processes")
            ours = dict(processes).get("wharf")
            others = [row for row in processes if row[0] != "wharf"]
            if not processes or question == "stop":
                continue
            best = others[0] if others else None
            cells = [name, shown(ours, unit) if ours else "–", "–", "–"]
            if best:
                cells[2] = named(best, unit)
            if ours and best and processes[0][0] == "wharf":
                cells[1] = f"**{cells[1]}**"
                cells[3] = f"ahead, {times(ours, best[1], unit)}×"
            elif ours and best:
                cells[2] = f"**{cells[2]}**"
                cells[3] = f"behind, {times(best[1], ours, unit)}×"
            for kind in ("threads", "limit"):
                rows = ranked(samples, unit, kind)
                cells.append(named(rows[0], unit) if rows else "–")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def details(results, title, questions, with_cpu):
    samples, cpu = results["samples"], results["cpu"]
    asked = [row for row in questions if row[0] in samples]
    if not asked:
        return []
    best = {}
    head, rule = "| system |", "|---|"
    for question, name, unit in asked:
        processes = ranked(samples[question], unit, "processes")
        best[question] = processes[0][0] if processes else None
        head += f" {name} |" + (" processor time |" if question in with_cpu else "")
        rule += "---|" + ("---|" if question in with_cpu else "")
    lines = [f"## {title}", "", head, rule]
    systems = sorted({system for question, _, _ in asked for system in samples[question]},
                     key=lambda name: order_of(name, [samples[row[0]] for row in asked], asked))
    for system in systems:
        kind = kind_of(system)
        name = system if kind == "processes" else f"*{system}*"
        name = f"*{system} (threads)*" if kind == "threads" else name
        cells = [name]
        for question, _, unit in asked:
            values = samples[question].get(system)
            text = cell(values, unit) if values else "–"
            cells.append(f"**{text}**" if best[question] == system else text)
            if question in with_cpu:
                used = cpu.get(question, {}).get(system)
                cells.append(shown(max(median(used), 0.0), "s") if used else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def order_of(system, columns, asked):
    """By the first question that a system has an answer to; limits and threads come first."""
    group = ["limit", "threads", "processes"].index(kind_of(system))
    for at, (column, (_, _, unit)) in enumerate(zip(columns, asked)):
        if system in column:
            value = median(column[system])
            return group, at, -value if unit == "/s" else value
    return group, len(columns), 0


def notes(results):
    lines = []
    for system, reasons in sorted(results["notes"].items()):
        for what, reason in reasons.items():
            lines.append(f"- {system}, {what}: {reason}")
    return ["Not measured:", "", *lines, ""] if lines else []


def table(results):
    about = results["about"]
    host = about["machine"]
    rounds = "one round" if about["rounds"] == 1 else f"{about['rounds']} rounds"
    lines = ["# wharf beside its peers", ""]
    if about["quick"]:
        lines += ["**A quick run: it shows that everything works; the numbers mean nothing.**", ""]
    lines += [
        f"{about['date']}; {host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, Linux "
        f"{host['kernel']}; {rounds} in {about['seconds']} s. The host took {about['stolen']:.1%} "
        f"of the processors; {about['repeated']} parts that it disturbed were measured again, and "
        f"of what counts it took {about['stolen_median']:.1%} (median) to "
        f"{about['stolen_worst']:.1%} (worst).",
        "Two workers everywhere. Medians, with quartiles in brackets (both ends where there are "
        "fewer than four values). Bold: the best system of processes. Threads and limits are in "
        "italics: what there is without processes, and what the machine takes for the bare "
        "mechanism. A dash: the system has no such thing. Processor time is that of all processes, "
        "for one task, or for the array.", "",
        "METG is the shortest task with which two workers are still half busy: less is better.", "",
        *summary(results), "",
    ]
    for group in groups(about):
        lines += details(results, *group)
    lines += notes(results)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return "\n".join([*lines, f"Versions: {versions}.", ""])


def compact_json(results):
    """One line for each list of numbers, which are cut to what they can tell."""
    def trim(value):
        if isinstance(value, float):
            return float(f"{value:.5g}")
        if isinstance(value, dict):
            return {key: trim(inner) for key, inner in value.items()}
        return [trim(inner) for inner in value] if isinstance(value, list) else value

    def lay(value, indent):
        if not isinstance(value, dict) or not value:
            return json.dumps(value, ensure_ascii=False)
        inside = " " * (indent + 1)
        rows = [f"{inside}{json.dumps(key)}: {lay(value[key], indent + 1)}" for key in value]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"

    return lay(trim(results), 0) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print(table(json.load(file)), end="")
