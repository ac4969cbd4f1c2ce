"""The processor time of a system: of this process and all that it has started."""

import os
import time


def _parents():
    parents = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                # The name is in brackets and may hold anything; state and parent stand behind it.
                parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return parents


def _family():
    parents, own = _parents(), os.getpid()

    def is_family(pid):
        while pid != own:
            pid = parents.get(pid, 1)
            if pid <= 1:
                return False
        return True

    return [pid for pid in parents if is_family(pid)]


def _used_by(pid):
    # The number of a process's clock, as clock_getcpuclockid(3) makes it.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def _used():
    used = {pid: _used_by(pid) for pid in _family()}
    return {pid: seconds for pid, seconds in used.items() if seconds is not None}


class CpuClock:
    """Counts from when it is made. What it takes itself does not count."""

    def __init__(self):
        self.before = _used()
        self.before[os.getpid()] = _used_by(os.getpid())

    def seconds(self):
        own = _used_by(os.getpid())
        now = _used()
        now[os.getpid()] = own
        return sum(seconds - self.before.get(pid, 0.0) for pid, seconds in now.items())
