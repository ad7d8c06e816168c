"""Boots a kernel in an emulator, on this machine's own root file system, and runs a script there.

No hardware virtualisation is used: what passes here passes on any x86_64 machine, CI's included.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kernels.errors import GuestError, KernelError
from tests.kernels.kernels import Kernel, cache_directory

__all__ = ["GuestError", "Outcome", "run", "watch"]

PROJECT: Final = Path(__file__).resolve().parents[2]

# What run() itself leaves in the results; the rest is the script's.
ENTER: Final = "enter.sh"
SCRIPT: Final = "script.sh"
OUTPUT: Final = "output.log"
CONSOLE: Final = "console.log"
STATUS: Final = "status"

# virtme-ng mounts the root without a cache, so that each look at a file goes out to the emulator: importing
# numba and pyarrow takes 16 s, every time. By this second mount it takes 8 s, then 5 s. It may cache, because
# an overlay keeps changes from it.
_ENTER: Final = """\
exec >{results}/{OUTPUT} 2>&1
set -e
mkdir -p /run/host /run/overlay/upper /run/overlay/work /run/root
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /run/host
cd /run/overlay
mount -t overlay -o xino=off,lowerdir=/run/host,upperdir=upper,workdir=work root /run/root
for directory in proc sys dev; do mount --rbind /$directory /run/root/$directory; done
mount -t tmpfs run /run/root/run
mkdir -p /run/root/lib/modules /run/root{results}
mount -t tmpfs modules /run/root/lib/modules
ln -s {modules} /run/root/lib/modules/{release}
mount --bind {results} /run/root{results}
set +e
env -i {variables} chroot /run/root /bin/bash {results}/{SCRIPT}
echo $? >{results}/{STATUS}.part
mv {results}/{STATUS}.part {results}/{STATUS}
"""

_PRELUDE: Final = """\
set -e
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
modprobe binder_linux devices=binder,hwbinder,vndbinder
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do echo 1 >$cpu; done
cd {project}
set +e
"""

BOOT_SECONDS = 120.0  # it takes 6 s
GRACE_SECONDS = 5.0  # from asking an emulator to end to killing it
_ATTEMPTS: Final = 3
# Known of QEMU up to 8.0: a CPU that translates code while another patches it (jump labels, kprobes) may keep
# the breakpoint that stood there for a moment, and oops over it or hang.
_EMULATOR_BUG: Final = re.compile(r"\bint3: 0000")


@dataclass(frozen=True)
class Outcome:
    """What a script did in its guest."""

    status: int
    results: Path
    seconds: float  # from the start of the emulator to its end

    @property
    def output(self) -> str:
        """What the script wrote to stdout and stderr."""
        return (self.results / OUTPUT).read_text(errors="replace")

    def check(self) -> Outcome:
        """Returns itself where the script succeeded.

        Raises:
            GuestError: it did not; with the end of its output.
        """
        if self.status:
            raise GuestError(f"The script in the guest ended with status {self.status}.", self.results)
        return self


def run(
    kernel: Kernel,
    script: str,
    results: Path,
    *,
    timeout: float,
    cpus: int = 2,
    memory: str = "2G",
    parallel: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Runs a bash script as root in a guest that has binder, tracefs and debugfs.

    The script starts in the project's directory, with this interpreter first on its PATH. It sees the files
    of this machine; what it changes is lost with the guest, but for what is in `results`.

    Args:
        kernel: what to boot.
        script: the text of the script.
        results: a directory, empty or yet to be made. It gets output.log (of the script) and console.log (of
            the kernel), too.
        timeout: seconds for a boot, the script and the shutdown together.
        cpus: of the guest.
        memory: of the guest, as QEMU wants it.
        parallel: let the guest's CPUs run at the same time, for races between them. Otherwise they take turns,
            which costs a tenth of the speed. QEMU 7.2 crashes one parallel guest in twenty, and never crashed
            another; a guest that crashed so, or did not boot, is booted again, with empty results.
        environment: variables for the script, beside its own few.

    Raises:
        GuestError: the guest did not start, crashed, or took too long. A script that fails is no error here:
            see `Outcome.check`.
        KernelError: a tool is missing.
    """
    results = results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    if any(results.iterdir()):
        raise GuestError(f"{results} is not empty: give every run a directory of its own.")
    for path in (results, kernel.directory, PROJECT):
        if not re.fullmatch(r"[\w./+~-]+", str(path)):
            raise GuestError(f"virtme-ng cannot take the path {path}: it may hold letters, digits and ./+~-_ only.")
    variables = _variables(environment or {})
    _compile_ahead()
    for attempt in range(1, _ATTEMPTS + 1):
        (results / ENTER).write_text(_enter(kernel, results, variables))
        (results / SCRIPT).write_text(_PRELUDE.format(project=PROJECT) + script)
        seconds = watch(_command(kernel, results, cpus, memory, parallel), results, timeout)
        if (results / STATUS).exists():
            return Outcome(int((results / STATUS).read_text()), results, seconds)
        begun = (results / OUTPUT).exists()
        crashed = _EMULATOR_BUG.search((results / CONSOLE).read_text(errors="replace"))
        if begun and not crashed:
            raise GuestError("The guest ended before its script did.", results)
        if attempt < _ATTEMPTS:
            for path in results.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    raise GuestError(f"{_ATTEMPTS} guests did not boot or crashed with their emulator: use a newer QEMU.", results)


def watch(command: list[str], results: Path, timeout: float) -> float:
    """Runs a command that boots a guest, and ends all that it started; returns the seconds it took.

    Raises:
        GuestError: it took longer than the timeout. A guest that is still booting after BOOT_SECONDS is ended
            without an error.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, (results / CONSOLE).open("wb") as console:
        # timeout(1) is there for when nobody is left here to count
        process = subprocess.Popen(
            ["timeout", "--kill-after=5", str(timeout + 60), *command],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": _path(), "TMPDIR": scratch},
            start_new_session=True,
        )
        try:
            done = _wait(process.pid, min(timeout, BOOT_SECONDS))
            if not done and (timeout < BOOT_SECONDS or (results / OUTPUT).exists()):
                done = _wait(process.pid, timeout - (time.monotonic() - begin))
                if not done:
                    raise GuestError(f"The guest was not done after {timeout:g} s.", results)
        finally:
            _end(process)
    return time.monotonic() - begin


def _wait(pid: int, seconds: float) -> bool:
    """Whether a process ends in time. It stays a zombie, so that nobody gets its id, which its group has."""
    end = time.monotonic() + seconds
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if not _wait(process.pid, 0):
        os.killpg(process.pid, signal.SIGTERM)
        _wait(process.pid, GRACE_SECONDS)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _command(kernel: Kernel, results: Path, cpus: int, memory: str, parallel: bool) -> list[str]:
    vng = shutil.which("vng", path=_path())
    if not vng:
        raise KernelError(f"There is no virtme-ng beside this Python: {sys.executable} -m pip install virtme-ng")
    for tool, package in (("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static")):
        if not shutil.which(tool, path=_path()):
            raise KernelError(f"There is no {tool}: apt-get install {package}")
    emulator = (
        f"-accel tcg,thread={'multi' if parallel else 'single'}",
        # QEMU 7.2 gathers wrong words (vpgatherqq), and numpy's argsort uses that where there is AVX2
        "-cpu max,-avx2",
        "-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device virtio-9p-pci,fsdev=host,mount_tag=host",
    )
    return [
        *(vng, "--run", str(kernel.image), "--disable-kvm", "--verbose"),
        "--force-9p",  # else virtme-ng waits for a virtiofsd, which Debian 12 has in a form it cannot use
        *("--cpus", str(cpus), "--memory", memory, "--rwdir", str(results)),
        *("--append", "oops=panic"),  # no test goes on with a kernel that is damaged
        *(("--append", "maxcpus=1") if parallel else ()),  # the rest come once the boot has patched its code
        *("--exec", f"bash {results / ENTER}"),
        f"--qemu-opts={' '.join(emulator)}",
    ]


def _path() -> str:
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return f"{Path(sys.executable).parent}:{usual}"


def _variables(more: Mapping[str, str]) -> dict[str, str]:
    own = {"PATH": _path(), "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(PROJECT)}
    return {**own, **_numba_variables(), **more}


def _enter(kernel: Kernel, results: Path, variables: Mapping[str, str]) -> str:
    words = shlex.join(f"{key}={value}" for key, value in variables.items())
    return _ENTER.format(
        results=results,
        modules=kernel.modules,
        release=kernel.release,
        variables=words,
        OUTPUT=OUTPUT,
        SCRIPT=SCRIPT,
        STATUS=STATUS,
    )


def _numba_variables() -> dict[str, str]:
    """Code for any x86-64 CPU, so that what this machine has compiled serves the emulated one too."""
    directory = cache_directory() / "numba"
    return {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(directory)}


@functools.cache
def _compile_ahead() -> None:
    """Compiles here what observers have compiled: in a guest the tracker alone takes 50 s."""
    command = [sys.executable, "-c", "import binder_observe.commands.observe"]
    environment = {**os.environ, **_numba_variables()}
    subprocess.run(command, cwd=PROJECT, env=environment, check=False, capture_output=True)
