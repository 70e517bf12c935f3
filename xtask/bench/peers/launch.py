"""Starts one service of a peer on a free port, says its address on stdout, and ends with whoever started it.

    launch.py NAME COMMAND…

`COMMAND` runs in the folder `NAME` beside this file, with the programs of the environment that this program runs in;
`{port}` in its words becomes the port.

Frameworks start processes that leave the group of their parent, or outlive it. So the service runs below a keeper: a
process outside the group, which adopts whatever loses its parent, and ends all that is below it as soon as this program
is told to stop, is killed, or loses its stdin.
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# For the services to stop by themselves. The benchmark waits 5 seconds for all of it.
STOP_SECONDS = 3.0
SET_CHILD_SUBREAPER = 36

# Of all services of this environment.
LOG = Path(sys.prefix) / "services.log"

# Nothing is sent to anybody.
NO_STATISTICS = {"BENTOML_DO_NOT_TRACK": "true", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"}


def main(name: str, command: list[str]) -> int:
    lifeline, held = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(held)
        os._exit(keep(name, command, lifeline))
    os.close(lifeline)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threading.Thread(target=stop_with_stdin, daemon=True).start()
    signal.sigwait(signals)
    # The keeper waits for this. When this process is killed, the kernel does it.
    os.close(held)
    _, status = os.waitpid(keeper, 0)
    return os.waitstatus_to_exitcode(status)


def stop_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def keep(name: str, command: list[str], lifeline: int) -> int:
    os.setsid()
    if ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print("error: this process may not adopt others: run the benchmark on Linux", file=sys.stderr)
        return 1
    directory = tempfile.mkdtemp(prefix="bench-peer-")
    try:
        return serve(name, command, lifeline, directory)
    except OSError as error:
        print(f"error: cannot start `{' '.join(command)}`: {error}", file=sys.stderr)
        return 1
    finally:
        end_all_below()
        shutil.rmtree(directory, ignore_errors=True)


def serve(name: str, command: list[str], lifeline: int, directory: str) -> int:
    """Until the service ends or the lifeline does."""
    port = free_port()
    with LOG.open("a") as log:
        service = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            cwd=Path(__file__).parent / name,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    announced = False
    while service.poll() is None:
        ended, _, _ = select.select([lifeline], [], [], 1.0 if announced else 0.05)
        if ended:
            return 0
        if not announced and accepts(port):
            announced = True
            print(f"http://127.0.0.1:{port}", flush=True)
    print(f"error: `{' '.join(command)}` ended by itself; its log is {LOG}", file=sys.stderr)
    return 1


def environment(directory: str) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    return {
        **os.environ,
        **NO_STATISTICS,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        # For `stages`, without a cache of it among the sources.
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        # What a framework leaves behind is in one place, which is removed.
        "HOME": directory,
        "TMPDIR": directory,
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def end_all_below() -> None:
    """Asks, then kills, until there is no process below this one."""
    send(signal.SIGTERM, below(os.getpid(), direct=True))
    left = wait(STOP_SECONDS)
    while left:
        send(signal.SIGKILL, below(os.getpid(), direct=False))
        left = wait(0.1)


def send(number: signal.Signals, processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


def wait(seconds: float) -> bool:
    """For the end of all; returns whether some are left. Those that lose their parent become children of this one."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if ended == 0:
            time.sleep(0.02)
    return True


def below(process: int, *, direct: bool) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may contain anything.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(process, []))
    if not direct:
        for one in found:
            found.extend(children.get(one, []))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
