"""One server as a process: real processes, small ones."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gamebus.errors import StackError
from gamebus.localstack.ports import free_port, is_free
from gamebus.localstack.process import ServerProcess, identify, last_lines, parent_death_wrapper

SLEEP = [shutil.which("sleep") or "/bin/sleep", "600"]

MakeServer = Callable[..., ServerProcess]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MakeServer]:
    """Makes servers in this test's folder; none outlives it."""
    made: list[ServerProcess] = []

    def make(
        command: list[str],
        *,
        is_ready: Callable[[int], bool] = lambda _: True,
        ready_timeout_s: float = 30.0,
        stop_timeout_s: float = 30.0,
    ) -> ServerProcess:
        name = f"server-{len(made)}"
        made.append(
            ServerProcess(
                name,
                port=1,
                folder=tmp_path / name,
                prepare=lambda: command,
                is_ready=is_ready,
                ready_timeout_s=ready_timeout_s,
                stop_timeout_s=stop_timeout_s,
            )
        )
        return made[-1]

    yield make
    for process in made:
        process.kill(signal.SIGKILL)
        process.wait_stopped()


def python(text: str) -> list[str]:
    """A server written in Python."""
    return [sys.executable, "-u", "-c", text]


def wait_gone(pid: int) -> None:
    """Wait until the process has ended, whether or not somebody took its exit status."""
    deadline = time.monotonic() + 30
    while identify(pid) is not None:
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


class TestStart:
    def test_a_second_start_changes_nothing(self, server: MakeServer) -> None:
        """`gamebus stack up` twice leaves one process."""
        process = server(SLEEP)
        process.start()
        first = process.pid
        process.start()

        assert process.pid == first

    def test_is_found_by_another_object(self, server: MakeServer, tmp_path: Path) -> None:
        """The folder knows the process: `gamebus stack status` in another terminal finds it."""
        process = server(SLEEP)
        process.start()
        other = ServerProcess("server-0", port=1, folder=tmp_path / "server-0", prepare=list, is_ready=lambda _: True)

        assert other.pid == process.pid
        assert other.status().running
        assert (other.status().rss_bytes or 0) > 0

    def test_output_goes_to_the_log_and_the_log_before_is_kept(self, server: MakeServer) -> None:
        """What a server said before it died is still there after the restart that follows."""
        process = server(python("import os; print('I am', os.getpid(), flush=True); import time; time.sleep(600)"))
        pids = []
        for _ in range(2):
            process.restart()
            pids.append(process.pid)
            while not process.log_path.read_text(encoding="utf-8"):
                time.sleep(0.01)

        assert process.log_path.read_text(encoding="utf-8") == f"I am {pids[1]}\n"
        assert process.log_path.with_name("server-0.log.1").read_text(encoding="utf-8") == f"I am {pids[0]}\n"

    def test_gets_no_signal_of_the_terminal(self, server: MakeServer) -> None:
        """Ctrl-C reaches the parent only, which then stops its servers in order."""
        process = server(SLEEP)
        process.start()

        assert process.pid is not None
        assert os.getsid(process.pid) != os.getsid(0)


class TestPid:
    def test_of_a_server_that_died_is_none(self, server: MakeServer) -> None:
        """A killed server is seen as dead at once, though its pid file remains."""
        process = server(SLEEP)
        process.start()
        process.kill(signal.SIGKILL)

        assert process.wait_stopped()
        assert not process.status().running

    def test_that_belongs_to_another_program_now_is_stale(self, server: MakeServer, tmp_path: Path) -> None:
        """A recycled pid is neither taken for the server nor signalled, and the server can start again."""
        process = server(SLEEP)
        with subprocess.Popen(SLEEP) as bystander:
            (tmp_path / "server-0").mkdir()
            (tmp_path / "server-0" / "pid.json").write_text(json.dumps({"pid": bystander.pid, "start": "earlier"}))

            stale = process.status()
            assert not stale.running
            assert not process.stop()

            process.start()

            assert process.pid not in {None, bystander.pid}
            assert bystander.poll() is None
            bystander.kill()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
    def test_in_a_broken_file_is_none(self, server: MakeServer, tmp_path: Path, text: str) -> None:
        """A pid file that a full disk cut short does not stop the next start."""
        process = server(SLEEP)
        (tmp_path / "server-0").mkdir()
        (tmp_path / "server-0" / "pid.json").write_text(text)

        assert process.pid is None


class TestWaitReady:
    def test_ends_when_the_server_serves(self, server: MakeServer) -> None:
        """The probe is asked until it says yes, and is told the pid of this very process."""
        asked: list[int] = []

        def is_ready(pid: int) -> bool:
            asked.append(pid)
            return len(asked) == 3

        process = server(SLEEP, is_ready=is_ready)
        process.start()
        process.wait_ready()

        assert asked == [process.pid] * 3

    def test_shows_the_log_of_a_server_that_ended(self, server: MakeServer) -> None:
        """A server that cannot start says why: the end of its log and where the rest is."""
        process = server(python("print('the disk is full'); raise SystemExit(1)"), is_ready=lambda _: False)

        with pytest.raises(StackError, match="the disk is full") as raised:
            process.restart()

        assert str(process.log_path) in str(raised.value)

    def test_gives_up_on_a_server_that_hangs(self, server: MakeServer) -> None:
        """A server that runs without serving is an error after the time that a start may take."""
        process = server(SLEEP, is_ready=lambda _: False, ready_timeout_s=0.1)
        process.start()

        with pytest.raises(StackError, match="does not serve"):
            process.wait_ready()


class TestStop:
    def test_lets_the_server_finish(self, server: MakeServer) -> None:
        """SIGTERM comes first: a broker writes its clean-shutdown mark."""
        process = server(
            python(
                "import signal, sys, time\n"
                "signal.signal(signal.SIGTERM, lambda *_: (print('clean'), sys.exit()))\n"
                "print('ready')\n"
                "time.sleep(600)"
            )
        )
        process.start()
        while "ready" not in process.log_path.read_text(encoding="utf-8"):
            time.sleep(0.01)

        assert process.stop()
        assert last_lines(process.log_path).split() == ["ready", "clean"]
        assert process.pid is None

    def test_kills_a_server_that_does_not_listen(self, server: MakeServer) -> None:
        """A hung server does not survive `down`."""
        process = server(SLEEP, stop_timeout_s=0.1)
        process.start()
        pid = process.pid
        process.kill(signal.SIGSTOP)

        assert process.stop()
        assert pid is not None
        assert identify(pid) is None

    def test_of_a_server_that_does_not_run_is_no_error(self, server: MakeServer) -> None:
        """`down` may be said twice."""
        assert not server(SLEEP).stop()

    def test_gives_its_port_free(self, server: MakeServer) -> None:
        """A killed server that counts as stopped holds its port no more, however long its threads take to end: it can be started again."""
        port = free_port()
        process = server(
            python(
                "import socket, threading, time\n"
                f"listener = socket.create_server(('127.0.0.1', {port}))\n"
                "for _ in range(20): threading.Thread(target=time.sleep, args=(600,)).start()\n"
                # Letting go of memory takes time: meanwhile the first thread is a zombie and the last one holds the port.
                "memory = b'x' * 400_000_000\n"
                "print('ready')\n"
            )
        )
        process.start()
        while "ready" not in process.log_path.read_text(encoding="utf-8"):
            time.sleep(0.01)
        process.kill(signal.SIGKILL)

        assert process.wait_stopped()
        assert is_free(port)


PARENT = """
import sys, threading
from pathlib import Path
from gamebus.localstack.ports import free_port, is_free
from gamebus.localstack.process import ServerProcess

server = ServerProcess("server", port=1, folder=Path(sys.argv[1]) / "server", prepare=lambda: sys.argv[3:],
                       is_ready=lambda pid: True, foreground=sys.argv[2] == "foreground")
# From a thread that ends, as Stack.up does: the parent-death signal must not come when that thread ends.
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
print(server.pid, flush=True)
sys.stdin.read()
print(server.pid, flush=True)
"""


class TestForeground:
    def test_dies_with_a_parent_that_is_killed(self, tmp_path: Path) -> None:
        """A crash of the parent leaves no orphan, though no line of the parent's code runs any more."""
        with _parent(tmp_path, "foreground") as parent:
            pid = int(_line(parent))
            assert identify(pid) is not None
            parent.kill()

        wait_gone(pid)

    def test_outlives_the_thread_that_started_it(self, tmp_path: Path) -> None:
        """Linux binds the parent-death signal to the forking thread: one that lasts does the forking."""
        with _parent(tmp_path, "foreground") as parent:
            before = _line(parent)
            after, _ = parent.communicate(timeout=30)

        assert after == before

    def test_background_outlives_its_parent(self, tmp_path: Path) -> None:
        """`gamebus stack up` ends, the servers stay."""
        with _parent(tmp_path, "background") as parent:
            pid = int(_line(parent))
            parent.kill()
        try:
            assert identify(pid) is not None
        finally:
            os.kill(pid, signal.SIGKILL)

    @pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
    def test_a_parent_that_died_before_the_request_is_noticed(self) -> None:
        """No signal comes from a parent that is dead already, so the wrapper compares pids and gives up."""
        command = parent_death_wrapper([*python("print('an orphan')")])
        command[command.index(str(os.getpid()))] = "999999999"
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

        assert done.returncode == 1
        assert done.stdout == ""
        assert "parent died" in done.stderr


def _parent(folder: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), mode, *SLEEP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _line(parent: subprocess.Popen[str]) -> str:
    assert parent.stdout is not None
    lines = (line for line in parent.stdout if line.strip().isdigit())
    return next(lines)
