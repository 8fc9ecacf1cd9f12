"""The generator before everything else on its machine: a load that waits for a CPU is late, and its lateness looks like the servers'.

Taken only where the system permits it (Linux, root or CAP_SYS_NICE), and for the time of playing; the report's environment tells. A
process of bots that falls behind can hold one CPU at most: the kernel keeps 5 % of it for others, and its report is invalid anyway.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NORMAL = "normal"
ROUND_ROBIN = "round robin"


@contextmanager
def precedence() -> Iterator[str]:
    """Run the thread of the loop before those of all other programs (sched(7), SCHED_RR); gives the policy that is in force.

    What it starts meanwhile, threads and processes, is scheduled as ever.
    """
    if sys.platform != "linux":
        yield NORMAL
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(
            0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        )
    except PermissionError:
        yield NORMAL
        return
    try:
        yield ROUND_ROBIN
    finally:
        os.sched_setscheduler(0, *before)
