"""Script: become another program that the kernel kills when the process that started it dies, however it dies.

    python die_with_parent.py PARENT_PID PROGRAM [ARGUMENT...]

Linux's parent-death signal (prctl(2), PR_SET_PDEATHSIG) survives execve(2), so the program keeps the pid of this script. Two traps:

* "Parent" means the *thread* that forked. :mod:`gamebus.localstack.process` therefore starts servers from one thread that lives as long as
  its process; who starts this script otherwise must do so from a thread that lasts, such as the main one.
* A parent that died before the request was made sends no signal. The parent's pid is compared afterwards: an orphan has another parent.

SIGKILL, because a broker that has lost its peers may take minutes over a SIGTERM. Nothing that was acknowledged is lost by it: both servers
have handed it to the operating system by then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, program: list[str]) -> None:
    """Ask for the signal, make sure that the parent lives, become `program`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent died")
    try:
        os.execvp(program[0], program)  # noqa: S606  (no shell is the point)
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
