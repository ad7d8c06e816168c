"""The doctor on machines made of files."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from binder_observe.commands import doctor as command
from binder_observe.doctor import Check, Machine, Report, diagnose
from binder_observe.events import TABLE
from tests.test_bcc_loader import install as install_bcc
from tests.test_btf import MUTEX_AND_POINTER, VM_START, write_kernel

RELEASE = "6.12.117+deb12-amd64"
MODPROBE = "modprobe binder_linux devices=binder,hwbinder,vndbinder"
NEEDED = [row.tracepoint for row in TABLE if row.tracepoint and row.default]
LATENCY = [row.tracepoint for row in TABLE if row.tracepoint and not row.default]
DIST = "usr/lib/python3/dist-packages"


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def remove(root: Path, path: str) -> None:
    whole = root / path
    if whole.is_dir():
        shutil.rmtree(whole)
    else:
        whole.unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Debian 12 with everything in place."""
    write(tmp_path, "etc/os-release", "ID=debian\n")
    write(tmp_path, "proc/sys/kernel/osrelease", f"{RELEASE}\n")
    write(tmp_path, "proc/sys/kernel/arch", "x86_64\n")
    write(tmp_path, "proc/self/status", "Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n")
    write(tmp_path, "proc/self/mounts", "proc /proc proc rw 0 0\n")
    write(tmp_path, "proc/filesystems", "nodev\tdebugfs\n\text4\n")
    write(
        tmp_path,
        "proc/kallsyms",
        "ffffffff81000000 T _text\n"
        "ffffffffc0a00000 t binder_alloc_deferred_release.cold\t[binder_linux]\n"
        "ffffffffc0a00010 t binder_alloc_deferred_release\t[binder_linux]\n"
        "ffffffffc0a09000 b binder_procs\t[binder_linux]\n",
    )
    write(tmp_path, f"lib/modules/{RELEASE}/modules.dep", "kernel/drivers/android/binder_linux.ko.xz:\n")
    (tmp_path / f"lib/modules/{RELEASE}/build/include").mkdir(parents=True)
    for name in (*NEEDED, *LATENCY):
        (tmp_path / "sys/kernel/tracing/events/binder" / str(name)).mkdir(parents=True)
    (tmp_path / "sys/bus/event_source/devices/kprobe").mkdir(parents=True)
    (tmp_path / "sys/module/binder_linux").mkdir(parents=True)
    write(tmp_path, "sys/kernel/debug/binder/stats")
    write(tmp_path, "sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    for name in ("binder", "hwbinder", "vndbinder", "null"):
        write(tmp_path, f"dev/{name}")
    write_kernel(tmp_path / "sys/kernel/btf")
    install_bcc(tmp_path / DIST)
    return tmp_path


def look(root: Path, name: str) -> tuple[Check, Report]:
    report = diagnose(Machine(root))
    (check,) = [check for check in report.checks if check.id == name]
    return check, report


def test_everything_in_place(root: Path) -> None:
    report = diagnose(Machine(root))
    assert [(check.id, check.status, check.mend) for check in report.checks] == [
        (name, "ok", None)
        for name in (
            "privileges", "kernel", "driver", "generation", "devices", "tracefs", "tracepoints",
            "tracepoints-latency", "release-probe", "page-states", "btf", "bcc", "headers", "lockdown", "stats",
        )
    ]  # fmt: skip
    assert report.ok
    assert report.generation == "6.8"
    found = {check.id: check.detail for check in report.checks}
    assert found["kernel"] == f"{RELEASE} on x86_64"
    assert found["devices"] == "/dev/binder, /dev/hwbinder, /dev/vndbinder"
    assert found["bcc"] == f"0.26.0 in {root / DIST / 'bcc'}"
    assert found["driver"] == "the C driver, a module"


def as_user(capabilities: str, paranoid: int | None = None) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        write(root, "proc/self/status", f"Uid:\t1000\t1000\t1000\t1000\nCapEff:\t{capabilities}\n")
        if paranoid is not None:
            write(root, "proc/sys/kernel/perf_event_paranoid", f"{paranoid}\n")

    return change


def without(*paths: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        for path in paths:
            remove(root, path)

    return change


def unload(root: Path) -> None:
    """As before modprobe."""
    for path in (
        "sys/kernel/tracing/events/binder",
        "sys/module/binder_linux",
        "sys/kernel/btf/binder_linux",
    ):
        remove(root, path)
    for path in ("sys/kernel/debug/binder", "dev/binder", "dev/hwbinder", "dev/vndbinder"):
        remove(root, path)
    write(root, "proc/kallsyms", "ffffffff81000000 T _text\n")


def without_driver(root: Path) -> None:
    unload(root)
    write(root, f"lib/modules/{RELEASE}/modules.dep", "kernel/fs/fuse.ko.xz:\n")


def rust(root: Path) -> None:
    without_driver(root)
    (root / "sys/kernel/tracing/events/rust_binder/rust_binder_ioctl").mkdir(parents=True)


def bad_bcc(init: str) -> Callable[[Path], None]:
    return lambda root: write(root, f"{DIST}/bcc/__init__.py", init)


def builtin_without_btf(root: Path) -> None:
    write_kernel(root / "sys/kernel/btf", None)
    remove(root, "sys/kernel/btf/binder_linux")


@pytest.mark.parametrize(
    ("change", "name", "status", "words", "mend"),
    [
        (as_user("0000000000000000"), "privileges", "missing", "not root", "sudo binder-observe doctor"),
        (as_user("000000c000000000"), "privileges", "ok", "CAP_BPF and CAP_PERFMON", None),
        (as_user("000000c000000000", paranoid=2), "privileges", "ok", "CAP_BPF and CAP_PERFMON", None),
        (as_user("000000c000000000", paranoid=3), "privileges", "missing", "kprobes take CAP_SYS_ADMIN",
         "sysctl kernel.perf_event_paranoid=2"),
        (as_user("0000000000200000", paranoid=4), "privileges", "ok", "CAP_SYS_ADMIN", None),
        (as_user("0000008000000000"), "privileges", "missing", "not root", "sudo binder-observe doctor"),
        (as_user("0000000000200000"), "privileges", "ok", "CAP_SYS_ADMIN", None),
        (lambda root: write(root, "proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n"),
         "privileges", "missing", "container", None),
        (without("proc/self/status"), "privileges", "unknown", "does not tell", None),
        (without("proc/sys/kernel/osrelease"), "kernel", "unknown", "not to be had", None),
        (unload, "driver", "missing", "not loaded", MODPROBE),
        (without_driver, "driver", "missing", "has none", None),
        (rust, "driver", "missing", "Rust driver (trace system rust_binder)", None),
        (unload, "generation", "unknown", "binder is not loaded", None),
        (unload, "devices", "optional-missing", "binder is not loaded", None),
        (without("dev"), "devices", "optional-missing", "another mount namespace", None),
        (unload, "tracepoints", "missing", "binder is not loaded", None),
        (unload, "tracepoints-latency", "optional-missing", "binder is not loaded", None),
        (unload, "release-probe", "unknown", "not loaded", None),
        (unload, "btf", "ok", "binder's comes with the driver", None),
        (unload, "stats", "optional-missing", "not loaded", None),
        (without("sys/kernel/tracing"), "tracefs", "missing", "not mounted",
         "mount -t tracefs tracefs /sys/kernel/tracing"),
        (without("sys/kernel/tracing"), "tracepoints", "unknown", "tracefs does not tell", None),
        (without("sys/kernel/tracing/events/binder/binder_free_lru_start"), "tracepoints", "missing",
         "lacks binder_free_lru_start", None),
        (without("sys/kernel/tracing/events/binder/binder_unmap_user_end"), "tracepoints-latency",
         "optional-missing", "lacks binder_unmap_user_end", None),
        (without("sys/bus/event_source/devices/kprobe"), "release-probe", "missing", "no kprobes", None),
        (lambda root: write(root, "proc/kallsyms", "0 t binder_alloc_deferred_release.cold\t[x]\n"),
         "release-probe", "missing", "no function binder_alloc_deferred_release", None),
        (without("proc/kallsyms"), "release-probe", "unknown", "does not tell", None),
        (unload, "page-states", "unknown", "not loaded", None),
        (lambda root: write(root, "proc/kallsyms", "0000000000000000 b binder_procs\t[binder_linux]\n"),
         "page-states", "optional-missing", "hides addresses (no CAP_SYSLOG", None),
        (without("sys/kernel/btf"), "btf", "missing", "no BTF at", None),
        (builtin_without_btf, "btf", "missing", "not binder's", None),
        (without(f"{DIST}/bcc"), "bcc", "missing", "not installed", "apt install python3-bpfcc"),
        (bad_bcc("raise OSError('libbcc.so.0: gone')"), "bcc", "missing", "libbcc.so.0: gone",
         "apt install python3-bpfcc"),
        (bad_bcc("import os; os.kill(os.getpid(), 11)"), "bcc", "missing", "status -11", None),
        (without(f"lib/modules/{RELEASE}/build"), "headers", "missing", f"none for {RELEASE}",
         f"apt install linux-headers-{RELEASE}"),
        (lambda root: write(root, "sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
         "lockdown", "missing", "boot without it", None),
        (lambda root: write(root, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
         "lockdown", "ok", "integrity", None),
        (without("sys/kernel/security"), "lockdown", "unknown", "does not tell", None),
        (without("sys/kernel/debug/binder"), "stats", "optional-missing", "cannot be checked",
         "mount -t debugfs debugfs /sys/kernel/debug"),
    ],
)  # fmt: skip
def test_one_thing_differs(
    root: Path, change: Callable[[Path], None], name: str, status: str, words: str, mend: str | None
) -> None:
    change(root)
    check, report = look(root, name)
    assert (check.status, check.mend) == (status, mend)
    assert words in check.detail
    assert "; try: " not in check.detail
    if status == "missing":
        assert not report.ok
        assert check in report.missing


@pytest.mark.parametrize(
    ("layout", "mdata", "generation"), [(MUTEX_AND_POINTER, False, "6.1"), (VM_START, True, "6.14")]
)
def test_generations(root: Path, layout: str, mdata: bool, generation: str) -> None:
    write_kernel(root / "sys/kernel/btf", layout, mdata=mdata, lru_page=not mdata)
    check, report = look(root, "generation")
    assert report.generation == generation
    assert check.detail.startswith(f"{generation}: ")


def test_built_in(root: Path) -> None:
    remove(root, "sys/module/binder_linux")
    remove(root, "sys/kernel/btf/binder_linux")
    write_kernel(root / "sys/kernel/btf", module=False)
    check, report = look(root, "driver")
    assert check.detail == "the C driver, built in"
    assert report.ok
    assert report.generation == "6.8"


def test_an_unfamiliar_allocator_stops_nobody(root: Path) -> None:
    write_kernel(root / "sys/kernel/btf", "mutex")
    check, report = look(root, "generation")
    assert (check.status, check.detail) == ("unknown", "BTF does not tell")
    assert report.ok


def test_binderfs(root: Path) -> None:
    remove(root, "dev")
    remove(root, "sys/kernel/debug/binder")
    write(root, "proc/self/mounts", "binder /mnt/a\\040b binder rw 0 0\n")
    for name in ("binder-control", "features/oneway_spam_detection", "binder_logs/stats", "anbox-binder"):
        write(root, f"mnt/a b/{name}")
    report = diagnose(Machine(root))
    found = {check.id: check.detail for check in report.checks}
    assert found["devices"] == "/mnt/a b/anbox-binder"
    assert found["stats"] == "/mnt/a b/binder_logs/stats"


def test_binderfs_could_be_mounted(root: Path) -> None:
    remove(root, "dev")
    write(root, "proc/filesystems", "nodev\tbinder\n")
    check, _ = look(root, "devices")
    assert check.mend == "mkdir -p /dev/binderfs && mount -t binder binder /dev/binderfs"


def test_tracefs_inside_debugfs(root: Path) -> None:
    (root / "sys/kernel/tracing").rename(root / "sys/kernel/debug/tracing")
    check, report = look(root, "tracefs")
    assert check.detail == "/sys/kernel/debug/tracing"
    assert report.ok


def test_a_module_that_was_not_installed(root: Path) -> None:
    without_driver(root)
    write(root, f"boot/config-{RELEASE}", "CONFIG_ANDROID_BINDER_IPC=m\n")
    check, _ = look(root, "driver")
    assert check.detail == f"a module that is not installed under /lib/modules/{RELEASE}"


@pytest.mark.parametrize("path", ["sys/kernel/kheaders.tar.xz", "proc/kheaders.tar.xz"])
def test_headers_in_the_kernel(root: Path, path: str) -> None:
    remove(root, f"lib/modules/{RELEASE}/build")
    write(root, path)
    check, report = look(root, "headers")
    assert check.detail == f"/{path}"
    assert report.ok


def test_headers_in_a_module(root: Path) -> None:
    remove(root, f"lib/modules/{RELEASE}/build")
    write(root, f"lib/modules/{RELEASE}/modules.dep", "kernel/kernel/kheaders.ko.xz:\n")
    assert look(root, "headers")[0].mend == "modprobe kheaders"


def test_an_ordinary_user_may_not_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tracefs and debugfs have mode 0700: that is no proof of anything."""
    has, names = Machine.has, Machine.names
    closed = ("sys/kernel/tracing", "sys/kernel/debug")
    monkeypatch.setattr(Machine, "has", lambda m, path: None if path.startswith(closed) else has(m, path))
    monkeypatch.setattr(Machine, "names", lambda m, path: [] if path.startswith(closed) else names(m, path))
    as_user("0")(root)
    report = diagnose(Machine(root))
    found = {check.id: check.status for check in report.checks}
    assert [name for name, status in found.items() if status == "unknown"] == [
        "tracefs", "tracepoints", "tracepoints-latency", "stats",
    ]  # fmt: skip
    assert [check.id for check in report.missing] == ["privileges"]


def test_bcc_prints_nothing_here(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = "import os, sys\nprint('junk')\nos.write(2, b'junk')\n__version__ = '1'\nclass BPF: ...\n"
    bad_bcc(noise)(root)
    check, _ = look(root, "bcc")
    assert check.status == "ok"
    assert capfd.readouterr() == ("", "")
    assert "bcc" not in sys.modules


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> tuple[int, str]:
    monkeypatch.setattr(command, "diagnose", lambda: diagnose(Machine(root)))
    result = CliRunner().invoke(command.doctor, args)
    return result.exit_code, result.output


def test_command_text(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(root, monkeypatch)
    assert status == 0
    assert output.endswith("\nLive observation is possible here.\n")
    assert "ok  privileges: CAP_SYS_ADMIN\n" in output
    unload(root)
    status, output = run(root, monkeypatch)
    assert status == 3
    assert f"missing           binder driver: not loaded\n                    {MODPROBE}\n" in output
    assert output.endswith("not possible here; missing: binder driver, tracepoints.\n")


def test_command_json(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = run(root, monkeypatch, "--json")
    report = json.loads(output)
    assert status == 0
    assert set(report) == {"schema", "ok", "generation", "checks"}
    assert (report["schema"], report["ok"], report["generation"]) == (1, True, "6.8")
    unload(root)
    status, output = run(root, monkeypatch, "-j")
    assert status == 3
    report = json.loads(output)
    assert not report["ok"]
    assert report["checks"][2] == {
        "id": "driver", "title": "binder driver", "status": "missing", "detail": "not loaded",
        "mend": MODPROBE,
    }  # fmt: skip


def test_this_machine() -> None:
    report = diagnose()
    assert json.loads(json.dumps(report.to_dict()))["schema"] == 1
    assert command.render(report)
