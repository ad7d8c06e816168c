"""What this machine has and lacks for live observation, found by looking.

Every path is taken from a `Machine`'s root, so that tests can build machines out of files.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from binder_observe import sources
from binder_observe.errors import UnsupportedError
from binder_observe.events import TABLE
from binder_observe.sources.bcc_loader import distribution
from binder_observe.sources.btf import Btf, generation
from binder_observe.sources.snapshot import binder_procs

Status = Literal["ok", "missing", "optional-missing", "unknown"]
Driver = Literal["c", "rust", "none"]

_CAP_SYS_ADMIN, _CAP_PERFMON, _CAP_BPF = 21, 38, 39
_PARANOID: Final = 2
_MODPROBE: Final = "modprobe binder_linux devices=binder,hwbinder,vndbinder"
_RELEASE: Final = "binder_alloc_deferred_release"
_GENERATIONS: Final = {
    "6.1": "allocator as up to 6.7",
    "6.8": "allocator as in 6.8 to 6.13: pages are installed outside the lock",
    "6.14": "allocator as since 6.14: shrinker metadata under page->private",
}
_HEADERS: Final = {
    "debian": "apt install linux-headers-{release}",
    "ubuntu": "apt install linux-headers-{release}",
    "fedora": "dnf install kernel-devel-{release}",
    "rhel": "dnf install kernel-devel-{release}",
    "arch": "pacman -S linux-headers",
    "suse": "zypper install kernel-default-devel",
}
_LOAD_BCC: Final = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from binder_observe.errors import UnsupportedError
from binder_observe.sources.bcc_loader import load_bcc
try:
    bcc = load_bcc(pathlib.Path(sys.argv[2]))
    found = {"detail": f"{getattr(bcc, '__version__', 'version unknown')} in {bcc.__path__[0]}", "ok": True}
except UnsupportedError as error:
    found = {"detail": str(error), "ok": False, "mend": error.remedy}
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` is the command that mends it, where there is one."""

    id: str
    title: str
    status: Status
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All findings; `ok` says that nothing is known to stand in the way of live observation."""

    generation: sources.Generation
    checks: tuple[Check, ...]

    @property
    def missing(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "missing")

    @property
    def ok(self) -> bool:
        return not self.missing

    def to_dict(self) -> dict[str, object]:
        """As `doctor --json` prints it."""
        return {
            "schema": 1,
            "ok": self.ok,
            "generation": self.generation,
            "checks": [asdict(check) for check in self.checks],
        }


class Machine:
    """A machine by its files under `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root: Final = root

    def text(self, path: str) -> str:
        """What a file says; empty where it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    def names(self, path: str) -> list[str]:
        """What is in a directory; nothing where it cannot be read."""
        try:
            return sorted(os.listdir(self.root / path))
        except OSError:
            return []

    def has(self, path: str) -> bool | None:
        """None: this user may not know."""
        try:
            os.stat(self.root / path)
        except PermissionError:
            return None
        except OSError:
            return False
        return True

    @cached_property
    def release(self) -> str:
        """Kernel release, empty where unknown."""
        return self.text("proc/sys/kernel/osrelease").strip()

    @cached_property
    def tracefs(self) -> str | None:
        places = ("sys/kernel/tracing", "sys/kernel/debug/tracing")
        return next((place for place in places if self.has(f"{place}/events")), None)

    @cached_property
    def driver(self) -> Driver:
        """Which binder driver runs."""
        systems = self.names(f"{self.tracefs}/events") if self.tracefs else []
        modules = self.names("sys/module")
        if "binder" in systems or {"binder", "binder_linux"} & set(modules):
            return "c"
        return "rust" if "rust_binder" in systems or "rust_binder" in modules else "none"

    @cached_property
    def module_files(self) -> str:
        return self.text(f"lib/modules/{self.release}/modules.dep") if self.release else ""

    @cached_property
    def config(self) -> str:
        """The kernel's configuration, empty where it is not to be had."""
        try:
            return gzip.decompress((self.root / "proc/config.gz").read_bytes()).decode(errors="replace")
        except (OSError, EOFError):
            return self.text(f"boot/config-{self.release}")

    @cached_property
    def binderfs(self) -> list[str]:
        """Where binderfs is mounted, without the leading slash."""
        mounts = [line.split(" ") for line in self.text("proc/self/mounts").splitlines()]
        found = [m[1].replace("\\040", " ") for m in mounts if len(m) > 2 and m[2] == "binder"]
        return [place.lstrip("/") for place in found] or ["dev/binderfs"]


def diagnose(machine: Machine | None = None) -> Report:
    """Looks at everything; takes well under a second."""
    machine = machine or Machine()
    btf, found = check_btf(machine)
    checks = [
        check_privilege(machine),
        check_kernel(machine),
        check_driver(machine),
        check_generation(machine, found),
        check_devices(machine),
        check_tracefs(machine),
        *check_tracepoints(machine),
        check_release_probe(machine),
        check_page_states(machine),
        btf,
        check_bcc(machine),
        check_headers(machine),
        check_lockdown(machine),
        check_stats(machine),
    ]
    return Report(found, tuple(checks))


def check_privilege(machine: Machine) -> Check:
    title = "privileges"
    status = dict(re.findall(r"^(\w+):\s+(\S+)", machine.text("proc/self/status"), re.MULTILINE))
    try:
        effective = int(status["CapEff"], 16)
    except (KeyError, ValueError):
        return Check("privileges", title, "unknown", "/proc/self/status does not tell the capabilities")
    if effective >> _CAP_SYS_ADMIN & 1:
        return Check("privileges", title, "ok", "CAP_SYS_ADMIN")
    if effective >> _CAP_BPF & 1 and effective >> _CAP_PERFMON & 1:
        # The kernel itself knows levels up to 2, which CAP_PERFMON passes. By a patch of Debian's and Ubuntu's
        # ("security,perf: Allow further restriction of perf_event_open") only CAP_SYS_ADMIN counts above that.
        level = machine.text("proc/sys/kernel/perf_event_paranoid").strip()
        if level.isdigit() and int(level) > _PARANOID:
            why = f"CAP_BPF and CAP_PERFMON, but with kernel.perf_event_paranoid={level} kprobes take CAP_SYS_ADMIN"
            return Check("privileges", title, "missing", why, f"sysctl kernel.perf_event_paranoid={_PARANOID}")
        return Check("privileges", title, "ok", "CAP_BPF and CAP_PERFMON")
    lacks = "neither CAP_BPF with CAP_PERFMON nor CAP_SYS_ADMIN"
    if status.get("Uid") == "0":
        return Check("privileges", title, "missing", f"root, but {lacks}: a container without privileges")
    return Check("privileges", title, "missing", f"not root, {lacks}", "sudo binder-observe doctor")


def check_kernel(machine: Machine) -> Check:
    arch = machine.text("proc/sys/kernel/arch").strip() or os.uname().machine  # the file is there since 6.1
    if not machine.release:
        return Check("kernel", "kernel", "unknown", "its release is not to be had")
    return Check("kernel", "kernel", "ok", f"{machine.release} on {arch}")


def check_driver(machine: Machine) -> Check:
    title = "binder driver"
    if machine.driver == "c":
        how = "a module" if machine.has("sys/module/binder_linux") else "built in"
        return Check("driver", title, "ok", f"the C driver, {how}")
    if machine.driver == "rust":
        why = "the Rust driver (trace system rust_binder), which has no page or LRU tracepoints"
        return Check("driver", title, "missing", why)
    if "/binder_linux.ko" in machine.module_files:
        return Check("driver", title, "missing", "not loaded", _MODPROBE)
    setting = re.search(r"^CONFIG_ANDROID_BINDER_IPC(?:_RUST)?=(\w)", machine.config, re.MULTILINE)
    if setting and setting[1] == "m":
        why = f"a module that is not installed under /lib/modules/{machine.release}"
        return Check("driver", title, "missing", why)
    why = "this kernel has none (CONFIG_ANDROID_BINDER_IPC); the simulator runs without"
    return Check("driver", title, "missing", why)


def check_generation(machine: Machine, found: sources.Generation) -> Check:
    title = "allocator generation"
    if found != "unknown":
        return Check("generation", title, "ok", f"{found}: {_GENERATIONS[found]}")
    why = "binder is not loaded" if machine.driver == "none" else "BTF does not tell"
    return Check("generation", title, "unknown", why)


def check_devices(machine: Machine) -> Check:
    title = "binder devices"
    controls = {"binder-control", "features", "binder_logs"}
    found = [f"/dev/{name}" for name in machine.names("dev") if name in ("binder", "hwbinder", "vndbinder")]
    for place in machine.binderfs:
        found += [f"/{place}/{name}" for name in machine.names(place) if name not in controls]
    if found:
        return Check("devices", title, "ok", ", ".join(found))
    # Another mount namespace (a container's binderfs) may have them, so this stops nobody.
    if machine.driver == "none":
        return Check("devices", title, "optional-missing", "binder is not loaded")
    mount = "mkdir -p /dev/binderfs && mount -t binder binder /dev/binderfs"
    has_binderfs = re.search(r"^nodev\s+binder$", machine.text("proc/filesystems"), re.MULTILINE)
    why = "none here; another mount namespace may have them"
    return Check("devices", title, "optional-missing", why, mount if has_binderfs else None)


def check_tracefs(machine: Machine) -> Check:
    if machine.tracefs:
        return Check("tracefs", "tracefs", "ok", f"/{machine.tracefs}")
    if machine.has("sys/kernel/tracing/events") is None:
        return Check("tracefs", "tracefs", "unknown", "only root may look into /sys/kernel/tracing")
    mount = "mount -t tracefs tracefs /sys/kernel/tracing"
    return Check("tracefs", "tracefs", "missing", "not mounted", mount)


def check_tracepoints(machine: Machine) -> Iterator[Check]:
    """The default set, then what only `--latency` uses."""
    present = machine.names(f"{machine.tracefs}/events/binder") if machine.tracefs else []
    for default in (True, False):
        rows = [row for row in TABLE if row.tracepoint is not None and row.default == default]
        id_ = "tracepoints" if default else "tracepoints-latency"
        title = "tracepoints" if default else "tracepoints of --latency"
        absent = [row for row in rows if row.tracepoint not in present]
        fatal = any(row.essential for row in absent)
        status: Status = "missing" if fatal else "optional-missing"
        if not absent:
            yield Check(id_, title, "ok", f"all {len(rows)}")
        elif not machine.tracefs:
            yield Check(id_, title, "unknown", "tracefs does not tell")
        elif machine.driver == "none":
            yield Check(id_, title, status, "binder is not loaded")
        else:
            names = ", ".join(str(row.tracepoint) for row in absent)
            yield Check(id_, title, status, f"this kernel lacks {names}")


def check_release_probe(machine: Machine) -> Check:
    """A release is silent: only a kprobe on the function tells (see events.TABLE)."""
    id_, title = "release-probe", "probe of the release"
    can_probe = (
        machine.has("sys/bus/event_source/devices/kprobe"),
        machine.has(f"{machine.tracefs}/kprobe_events") if machine.tracefs else False,
    )
    if not any(can_probe):
        if None in can_probe:
            return Check(id_, title, "unknown", "only root may know of kprobes")
        return Check(id_, title, "missing", "this kernel has no kprobes (CONFIG_KPROBES)")
    if machine.driver != "c":
        return Check(id_, title, "unknown", "the C driver of binder is not loaded")
    symbols = machine.text("proc/kallsyms")
    if not symbols:
        return Check(id_, title, "unknown", "/proc/kallsyms does not tell")
    if re.search(rf" {_RELEASE}(?:\t|$)", symbols, re.MULTILINE):
        return Check(id_, title, "ok", _RELEASE)
    return Check(id_, title, "missing", f"this kernel has no function {_RELEASE}")


def check_page_states(machine: Machine) -> Check:
    """What of pages that were there before attach is found through (docs/probes.md)."""
    id_, title = "page-states", "pages from before attach"
    if machine.driver != "c":
        return Check(id_, title, "unknown", "the C driver of binder is not loaded")
    try:
        binder_procs(machine.root / "proc/kallsyms")
    except UnsupportedError as error:
        return Check(id_, title, "optional-missing", f"unknown until an event tells of them: {error}")
    return Check(id_, title, "ok", "binder_procs has an address")


def check_btf(machine: Machine) -> tuple[Check, sources.Generation]:
    """Struct layouts, and the generation that they show."""
    id_, title = "btf", "BTF"
    try:
        with Btf.load(machine.root / "sys/kernel/btf") as btf:
            if btf.has_struct("binder_alloc"):
                return Check(id_, title, "ok", "has struct binder_alloc"), generation(btf)
    except UnsupportedError as error:
        return Check(id_, title, "missing", _plain(error), error.remedy), "unknown"
    if machine.driver == "c":
        why = "the kernel's, but not binder's (CONFIG_DEBUG_INFO_BTF_MODULES)"
        return Check(id_, title, "missing", why), "unknown"
    return Check(id_, title, "ok", "the kernel's; binder's comes with the driver"), "unknown"


def check_bcc(machine: Machine) -> Check:
    """Imports bcc in a process of its own: what it prints, loads or crashes on stays there."""
    package = Path(__file__).resolve().parent.parent
    # -P: a bcc.py where the user stands is none of ours
    command = [sys.executable, "-P", "-c", _LOAD_BCC, str(package), str(machine.root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("bcc", "bcc", "unknown", f"cannot try to import it: {error}")
    except (IndexError, ValueError):
        return Check("bcc", "bcc", "missing", f"importing it fails (status {done.returncode})")
    if found["ok"]:
        return Check("bcc", "bcc", "ok", found["detail"])
    return Check("bcc", "bcc", "missing", _plain(UnsupportedError(found["detail"])), found["mend"])


def check_headers(machine: Machine) -> Check:
    """bcc compiles against them; it looks in these places (bcc, src/cc/frontends/clang/kbuild_helper.cc)."""
    id_, title = "headers", "kernel headers"
    for place in (f"lib/modules/{machine.release}/build", f"lib/modules/{machine.release}/source"):
        if machine.release and machine.has(f"{place}/include"):
            return Check(id_, title, "ok", f"/{place}")
    for archive in ("sys/kernel/kheaders.tar.xz", "proc/kheaders.tar.xz"):
        if machine.has(archive):
            return Check(id_, title, "ok", f"/{archive}")
    if "/kheaders.ko" in machine.module_files:
        return Check(id_, title, "missing", "in a module that is not loaded", "modprobe kheaders")
    commands = [_HEADERS[name] for name in distribution(machine.root) if name in _HEADERS]
    mend = commands[0].format(release=machine.release) if commands and machine.release else None
    return Check(id_, title, "missing", f"none for {machine.release or 'this kernel'}", mend)


def check_lockdown(machine: Machine) -> Check:
    """Only confidentiality forbids kprobes and BPF that reads kernel memory (enum lockdown_reason)."""
    id_, title = "lockdown", "kernel lockdown"
    state = re.search(r"\[(\w+)\]", machine.text("sys/kernel/security/lockdown"))
    if state is None:
        return Check(id_, title, "unknown", "securityfs does not tell; most kernels have none")
    if state[1] == "confidentiality":
        why = "confidentiality: BPF may not read kernel memory; boot without it"
        return Check(id_, title, "missing", why)
    return Check(id_, title, "ok", state[1])


def check_stats(machine: Machine) -> Check:
    """The kernel's own page counts, which reports are checked against."""
    id_, title = "stats", "the kernel's own counts"
    places = ["sys/kernel/debug/binder/stats", *(f"{place}/binder_logs/stats" for place in machine.binderfs)]
    found = {place: machine.has(place) for place in places}
    for place, there in found.items():
        if there:
            return Check(id_, title, "ok", f"/{place}")
    if None in found.values():
        return Check(id_, title, "unknown", "only root may look into /sys/kernel/debug")
    if machine.driver == "none":
        return Check(id_, title, "optional-missing", "binder is not loaded")
    debugfs = not machine.names("sys/kernel/debug") and "debugfs" in machine.text("proc/filesystems")
    mend = "mount -t debugfs debugfs /sys/kernel/debug" if debugfs else None
    why = "no binder stats file in debugfs or binderfs: counts cannot be checked"
    return Check(id_, title, "optional-missing", why, mend)


def _plain(error: UnsupportedError) -> str:
    """The message without the command, which has a place of its own."""
    return str(error).split("; try: ", maxsplit=1)[0]
