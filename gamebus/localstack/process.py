"""One server of the stack as a process of this machine: started, found again by a later command, stopped.

The process belongs to the folder, not to the object: its pid file stands there, so that `gamebus stack status` in another terminal finds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import structlog

from gamebus.errors import StackError

_POLL_S: Final = 0.05
_LAST_LINES: Final = 15
# Linux's; macOS has none and asks `ps`, which knows the start of a process to the second.
_PROC: Final = Path("/proc")

# Every server is forked from this one thread, which lives as long as this process: the parent-death signal is bound to the thread that
# forked (see die_with_parent.py), and `Stack.up` starts servers from threads that end.
_spawner: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Pids whose exit status this process has to take. Only then may a pid be given to another process.
_children: Final[set[int]] = set()

log = structlog.get_logger(__name__)


def parent_death_wrapper(command: Sequence[str]) -> list[str]:
    """`command`, dying with this process even when this process is killed; start it from a thread that lasts.

    Not guaranteed outside Linux, which alone has a parent-death signal: there `command` is returned as it is.
    """
    if sys.platform != "linux":
        return list(command)
    # -I -S: neither site-packages nor the environment matter to the script, and the start takes 15 ms.
    script = str(Path(__file__).with_name("die_with_parent.py"))
    return [sys.executable, "-I", "-S", script, str(os.getpid()), *command]


def last_lines(path: Path, count: int = _LAST_LINES) -> str:
    """The end of a log file, for a message to a person."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(f"    {line}" for line in lines[-count:]) or "    (empty)"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that cannot be taken for a later one with the same pid.

    Attributes:
        pid: process id.
        start: when it started, in the operating system's words; on Linux clock ticks since a boot, and which boot.
    """

    pid: int
    start: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has `pid` now, or None; one that has ended but was not waited for (a zombie) counts as none.

    None means that its files and ports are free: a killed process whose first thread is a zombie already, while others still
    let go of its memory, counts as living.
    """
    if not _PROC.is_dir():
        state, _, start = _ps("state=,lstart=", pid).partition(" ")
        return ProcessIdentity(pid, start.strip()) if start and not state.startswith("Z") else None
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc_pid_stat(5): the command in parentheses may hold spaces; after it come the state (field 3), the number of
    # threads (20) and the start time (22).
    fields = stat.rpartition(")")[2].split()
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    ended = fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)
    return None if ended else ProcessIdentity(pid, f"{boot}/{fields[19]}")


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What is known about one server.

    Attributes:
        pid: process id, or None while it does not run.
        rss_bytes: resident memory, or None when unknown.
    """

    name: str
    pid: int | None
    port: int
    running: bool
    rss_bytes: int | None
    log_path: Path


class ServerProcess:
    """One server, running or not.

    Guarantees: `start` never starts a second process while the first lives; a pid that now belongs to another program is never
    signalled; every process is in a session of its own, so Ctrl-C in a terminal reaches the parent only.
    Not safe for several threads or processes at once: :class:`~gamebus.localstack.stack.Stack` holds the folder's lock.

    Args:
        name: "kafka-1", "redis".
        port: where it listens, on 127.0.0.1.
        folder: its own folder; the pid file stands there. The log is beside it.
        prepare: called before every start; writes what the server needs on disk and returns the command.
        is_ready: whether the server with this pid serves now; never raises.
        foreground: the server dies with the process that starts it, even when that is killed (Linux only).
        ready_timeout_s: how long a start may take.
        stop_timeout_s: how long a SIGTERM may take before SIGKILL.
    """

    def __init__(
        self,
        name: str,
        *,
        port: int,
        folder: Path,
        prepare: Callable[[], Sequence[str]],
        is_ready: Callable[[int], bool],
        foreground: bool = False,
        ready_timeout_s: float = 60.0,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self.port = port
        self.log_path = folder.with_name(f"{name}.log")
        self._folder = folder
        self._pid_file = folder / "pid.json"
        self._prepare = prepare
        self._is_ready = is_ready
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._foreground = foreground

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        recorded = self._recorded()
        if recorded is None:
            return None
        _reap(recorded.pid)
        return recorded.pid if identify(recorded.pid) == recorded else None

    def status(self) -> ProcessStatus:
        """A snapshot."""
        pid = self.pid
        return ProcessStatus(
            name=self.name,
            pid=pid,
            port=self.port,
            running=pid is not None,
            rss_bytes=None if pid is None else _rss_bytes(pid),
            log_path=self.log_path,
        )

    def start(self) -> None:
        """Start the server unless it runs; does not wait for it."""
        if self.pid is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        command = list(self._prepare())
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_name(f"{self.name}.log.1"))
        if self._foreground:
            command = parent_death_wrapper(command)
        pid = _spawner.submit(_spawn, command, self.log_path).result()
        identity = identify(pid)
        if identity is None:
            _reap(pid)
            raise self._error("ended at once")
        # Moved into place, so that another command never reads half a file.
        draft = self._pid_file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(identity)), encoding="utf-8")
        draft.replace(self._pid_file)
        log.info("server.started", server=self.name, pid=pid, port=self.port, log=str(self.log_path))

    def wait_ready(self) -> None:
        """Wait until the server serves.

        Raises:
            StackError: it ended, or took too long; the message holds the end of its log.
        """
        deadline = time.monotonic() + self._ready_timeout_s
        while (pid := self.pid) is not None:
            if self._is_ready(pid):
                return
            if time.monotonic() > deadline:
                raise self._error(f"does not serve on 127.0.0.1:{self.port} after {self._ready_timeout_s:.0f} s")
            time.sleep(_POLL_S)
        raise self._error(f"ended before it served on 127.0.0.1:{self.port}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, for fault tests; nothing happens when the server does not run."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_stopped(self, timeout_s: float = 10.0) -> bool:
        """Wait until the process is gone; false when it still runs after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def stop(self) -> bool:
        """SIGTERM, and SIGKILL when that takes too long; true when the server ran."""
        ran = self.pid is not None
        if ran:
            self.kill(signal.SIGTERM)
            if not self.wait_stopped(self._stop_timeout_s):
                log.warning("server.killed", server=self.name, after_s=self._stop_timeout_s)
                self.kill(signal.SIGKILL)
                self.wait_stopped()
            log.info("server.stopped", server=self.name)
        self._pid_file.unlink(missing_ok=True)
        return ran

    def restart(self) -> None:
        """Stop the server if it runs, start it with its data and its port; wait until it serves."""
        self.stop()
        self.start()
        self.wait_ready()

    def _recorded(self) -> ProcessIdentity | None:
        try:
            return ProcessIdentity(**json.loads(self._pid_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _error(self, what: str) -> StackError:
        return StackError(f"{self.name} {what}; the end of {self.log_path}:\n{last_lines(self.log_path)}")


def _spawn(command: list[str], log_path: Path) -> int:
    """Start `command` in a session of its own with its output in `log_path`; its pid.

    posix_spawn rather than subprocess: a server outlives the object that started it, which `Popen` reports as a leak.
    """
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # Python ignores SIGPIPE and a shell's background job SIGINT; servers expect the defaults.
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
        setsigmask=[],
    )
    _children.add(pid)
    return pid


def _reap(pid: int) -> None:
    """Take the exit status of a child that has ended; why it ended stands in its log."""
    if pid not in _children:
        return
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            return
    _children.discard(pid)


def _rss_bytes(pid: int) -> int | None:
    if not _PROC.is_dir():
        answer = _ps("rss=", pid)
        return int(answer) * 1024 if answer else None
    try:
        pages = (_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _ps(columns: str, pid: int) -> str:
    """What the POSIX tool says, for systems without /proc."""
    return subprocess.run(
        ["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
