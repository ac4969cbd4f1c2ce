"""Measures one system written in Python, in a process of its own: as src/measure.rs does.

    measure.py SYSTEM few|many|start|tasks [quick]

Prints one line of JSON for each number.
"""

import gc
import json
import os
import subprocess
import sys
import time
import warnings

import work
from clock import CpuClock
from systems import SYSTEMS

IDLE_SECONDS = 1e-3
WARM_UP = 20
TASKS_MAX = 2_000_000
MIB = 1 << 20
GRAINS = [2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6, 5e-7]
# Two lengths in turn with less than this end the search. A single one may be an accident.
LOW = 0.45
GRAIN_TASKS = (16, 300_000)
GRAIN_RUNS = 2
# A system that takes less than this for an empty task starts with shorter lengths.
SLOW = 1e-3

system_name = None
meetings = 0


def write(question, **values):
    print(json.dumps({"system": system_name, "question": question, **values}), flush=True)


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def median(values):
    return sorted(values)[len(values) // 2]


def tasks(quick):
    system = SYSTEMS[system_name]()
    trips(system, 0.02 if quick else 0.4)
    for how in ("single", "batched"):
        throughput(how, run_of(system, how), 0.01 if quick else 0.3)
    for how in ("single", "batched"):
        grain(how, run_of(system, how), quick)
    system.stop()


def run_of(system, how):
    return system.singly if how == "single" else system.batched


def trips(system, budget):
    def call(seed):
        assert system.call(0, seed) == seed

    warm = timed(lambda: [call(seed) for seed in range(WARM_UP)])[0] / WARM_UP
    for question, pause in (("trip", 0), ("idle", IDLE_SECONDS)):
        calls = min(max(int(budget / (warm + pause)), 20), 20_000)
        clock, times = CpuClock(), []
        for seed in range(calls):
            if pause:
                time.sleep(pause)
            times.append(timed(call, seed)[0])
        cpu = clock.seconds() / calls
        write(question, value=median(times), cpu=cpu)
        write(f"{question} mean", value=sum(times) / calls, cpu=None)


def throughput(how, run, enough):
    """As many empty tasks as take a while, after fewer and fewer that warm up."""
    count = 32
    while True:
        clock = CpuClock()
        seconds, total = timed(run, count, 0)
        if total is None:
            return
        assert total == count * (count - 1) // 2, "every seed comes back, once"
        if seconds >= enough or count == TASKS_MAX:
            write(f"rate {how}", value=count / seconds, cpu=clock.seconds() / count)
            return
        fitting = int(count * 1.2 * enough / seconds)
        count = min(max(fitting, 2 * count), 10 * count, TASKS_MAX)


def grain(how, run, quick):
    """The smallest useful task: METG(50 %), as in src/grain.rs."""
    seconds, total = timed(run, 8, 0)
    if total is None:
        return
    first = 0 if seconds / 8 > SLOW else 2
    link = timed(work.chain, 50_000, 1)[0] / 50_000
    span, points = (0.005 if quick else 0.03), []
    for length in GRAINS[first:]:
        links = int(length / link)
        if links == 0:
            break
        count = int(min(max(span / length, GRAIN_TASKS[0]), GRAIN_TASKS[1]))
        alone = wall = float("inf")
        for _ in range(1 if quick else GRAIN_RUNS):
            seconds, total = timed(lambda: sum(work.chain(links, seed) for seed in range(count)))
            alone = min(alone, seconds)
            seconds, answer = timed(run, count, links)
            assert answer == total
            wall = min(wall, seconds)
        points.append((alone / count, alone / (2 * wall)))
        if len(points) >= 2 and all(efficiency < LOW for _, efficiency in points[-2:]):
            break
    write(f"curve {how}", points=points)
    shortest = crossing(points)
    if shortest is None:
        write(f"metg {how}", note="two workers were never half busy, up to 20 ms a task")
    else:
        write(f"metg {how}", value=shortest, cpu=None)


def crossing(points):
    """Where the curve last falls below a half, between two points on a logarithmic scale."""
    for (long, above), (short, below) in reversed(list(zip(points, points[1:]))):
        if above >= 0.5 > below:
            return long * (short / long) ** ((above - 0.5) / (above - below))
    return points[-1][0] if points[-1][1] >= 0.5 else None


def both(system, part, source=None, expected=None):
    global meetings
    meetings += 1
    seconds, answers = timed(system.both, meetings, part)
    assert answers == [work.seen(part, source) if expected is None else expected] * 2
    return seconds


def settle(size):
    """Lets the host have memory ready: see src/measure.rs."""
    subprocess.run([os.environ["COMPARE_PROGRAM"], "settle", str(size // MIB)], check=True)


def arrays(system, size, shown, repeats):
    if size > system.bytes_max:
        write(f"reach cold {shown}", note="its pickled copies would not fit into 6 GiB")
        return
    source = work.numbers(size // 8)
    settle(size)
    for turn in range(1 + repeats):
        kind = "warm" if turn else "cold"
        clock = CpuClock()
        put, _ = timed(system.put, source)
        touch = both(system, len(source) // 2 + 1, source)
        cpu = clock.seconds()
        if system.puts:
            write(f"put {kind} {shown}", value=put, cpu=None)
        write(f"reach {kind} {shown}", value=put + touch, cpu=cpu)
        clock = CpuClock()
        passed = both(system, work.EVERYTHING, source)
        write(f"sum {kind} {shown}", value=passed, cpu=clock.seconds())
        system.release()
        gc.collect()


def make_arrays(system, size, shown, repeats):
    """From nothing to an array that the caller has filled and both workers have touched."""
    length = size // 8
    if size > system.bytes_max:
        return
    for _ in range(repeats):
        clock = CpuClock()
        begin = time.perf_counter()
        system.fill(length)
        both(system, length // 2 + 1, expected=float(length))
        seconds = time.perf_counter() - begin
        write(f"make warm {shown}", value=seconds, cpu=clock.seconds())
        system.release()
        gc.collect()


def results(system, size, shown, repeats):
    length = size // 8
    settle(size)
    for turn in range(1 + repeats):
        clock = CpuClock()
        seconds, total = timed(lambda: float(system.result(length).sum()))
        assert total == float(length) * length
        kind = "warm" if turn else "cold"
        write(f"result {kind} {shown}", value=seconds, cpu=clock.seconds())


def start(repeats):
    for _ in range(repeats):
        clock = CpuClock()
        begin = time.perf_counter()
        system = SYSTEMS[system_name]()
        both(system, work.NOTHING)
        write("start", value=time.perf_counter() - begin, cpu=clock.seconds())
        write("stop", value=timed(system.stop)[0], cpu=None)


def main():
    global system_name
    system_name, part = sys.argv[1:3]
    quick = sys.argv[3:] == ["quick"]
    warnings.simplefilter("ignore")
    few, many = (MIB, 4 * MIB) if quick else (64 * MIB, 1024 * MIB)
    slow = system_name in ("Ray", "Dask")
    if part == "tasks":
        tasks(quick)
    elif part in ("few", "many"):
        system = SYSTEMS[system_name]()
        both(system, work.NOTHING)
        if part == "few":
            arrays(system, few, part, 1 if quick else 4)
            make_arrays(system, few, part, 1 if quick else 3)
            results(system, few, part, 1 if quick else 4)
        else:
            # One sends bytes through sockets, which takes seconds; the other keeps every copy until
            # its context ends, and 6 GiB are the most that a run may take.
            repeats = 1 if quick or system_name in ("Dask", "joblib") else 2
            arrays(system, many, part, repeats)
            make_arrays(system, many, part, repeats)
        system.stop()
    elif part == "start":
        start(1 if quick or slow else 3)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
