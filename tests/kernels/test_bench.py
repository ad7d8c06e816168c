"""The parts of the kernel bench that need no kernel: what is resolved, refused and given up."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.kernels import guest, kernels, workload
from tests.kernels.debian import Mirror, Package, parse_show, read_sources, resolve, version_key
from tests.kernels.errors import GuestError, KernelError

# ---- which packages make up a kernel ----

IMAGE_IN_ONE_PACKAGE = """\
Package: linux-image-amd64
Version: 6.1.100-1
Depends: linux-image-6.1.0-40-amd64 (= 6.1.100-1)
Description: Linux for 64-bit PCs
 This package depends on the latest Linux kernel.

Package: linux-image-amd64
Version: 6.1.99-1
Depends: linux-image-6.1.0-39-amd64 (= 6.1.99-1)

Package: linux-headers-amd64
Version: 6.1.100-1
Depends: linux-headers-6.1.0-40-amd64 (= 6.1.100-1)

Package: linux-image-6.1.0-40-amd64
Version: 6.1.100-1
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool

Package: linux-headers-6.1.0-40-amd64
Version: 6.1.100-1
Depends: linux-headers-6.1.0-40-common (= 6.1.100-1), linux-kbuild-6.1 (>= 6.1.100-1), linux-compiler-x86

Package: linux-headers-6.1.0-40-common
Version: 6.1.100-1
"""

IMAGE_IN_PARTS = """\
Package: linux-image-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)

Package: linux-base-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)

Package: linux-base-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1

Package: linux-image-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | linux-initramfs-tool, linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1),
 linux-modules-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)

Package: linux-binary-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)

Package: linux-modules-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1
Depends: kmod

Package: linux-headers-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-headers-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1)

Package: linux-headers-7.3.4+deb13-amd64
Version: 7.3.4-1~bpo13+1
Depends: gcc-14-for-host, linux-headers-7.3.4+deb13-common (= 7.3.4-1~bpo13+1), linux-kbuild-7.3.4+deb13

Package: linux-headers-7.3.4+deb13-common
Version: 7.3.4-1~bpo13+1
"""


class Archive:
    """Answers like `Apt.show`, from a text."""

    def __init__(self, text: str) -> None:
        self._packages = parse_show(text)

    def show(self, name: str) -> list[Package]:
        return [package for package in self._packages if package.name == name]


def test_resolve_finds_an_image_and_its_headers() -> None:
    archive = Archive(IMAGE_IN_ONE_PACKAGE)
    parts = resolve(archive.show("linux-image-amd64")[0], "linux-headers-amd64", archive.show)
    assert parts.release == "6.1.0-40-amd64"
    assert dict(parts.packages) == {
        "linux-image-6.1.0-40-amd64": "6.1.100-1",
        "linux-headers-6.1.0-40-amd64": "6.1.100-1",
        "linux-headers-6.1.0-40-common": "6.1.100-1",
    }


def test_resolve_follows_an_image_to_its_parts() -> None:
    archive = Archive(IMAGE_IN_PARTS)
    parts = resolve(archive.show("linux-image-amd64")[0], "linux-headers-amd64", archive.show)
    assert parts.release == "7.3.4+deb13-amd64"
    assert sorted(name for name, _ in parts.packages) == [
        "linux-base-7.3.4+deb13-amd64",
        "linux-binary-7.3.4+deb13-amd64",
        "linux-headers-7.3.4+deb13-amd64",
        "linux-headers-7.3.4+deb13-common",
        "linux-image-7.3.4+deb13-amd64",
        "linux-modules-7.3.4+deb13-amd64",
    ]


def test_resolve_is_not_misled_by_a_series_in_the_name_of_the_meta_package() -> None:
    text = IMAGE_IN_ONE_PACKAGE.replace("linux-image-amd64", "linux-image-6.1-amd64")
    archive = Archive(text)
    parts = resolve(archive.show("linux-image-6.1-amd64")[0], "linux-headers-amd64", archive.show)
    assert parts.release == "6.1.0-40-amd64"


def test_resolve_says_what_is_not_there() -> None:
    archive = Archive(IMAGE_IN_ONE_PACKAGE)
    with pytest.raises(KernelError, match=r"linux-headers-amd64 6\.1\.99-1"):
        resolve(archive.show("linux-image-amd64")[1], "linux-headers-amd64", archive.show)


def test_versions_sort_as_dpkg_sorts_them() -> None:
    ascending = ["6.1.9-1~bpo12+1", "6.1.9-1", "6.1.9-1+b1", "6.1.99-1", "6.1.176-1", "6.12.1-1", "1:0.1-1"]
    descending = ascending[::-1]
    assert sorted(descending, key=version_key) == ascending


def test_show_lists_the_newest_version_first() -> None:
    versions = [package.version for package in Archive(IMAGE_IN_ONE_PACKAGE).show("linux-image-amd64")]
    assert versions == ["6.1.100-1", "6.1.99-1"]


# ---- where packages come from ----

DEB822 = """\
# a comment
Types: deb
URIs: http://other.example/packages
Suites: nodistro
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian
# another
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_mirrors_are_read_from_deb822_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert read_sources(tmp_path) == (
        Mirror("http://mirror.example/debian", keyring),
        Mirror("http://mirror.example/debian-security", ""),
    )


def test_mirrors_are_read_from_one_line_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb cdrom:[Debian 12]/ bookworm main\n"
        "# deb http://old.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib\n"
    )
    main, security = read_sources(tmp_path)
    assert main == Mirror("http://mirror.example/debian", "[signed-by=/k.gpg]")
    assert security.source("bookworm-security") == (
        "deb [signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main"
    )


def test_a_machine_without_a_debian_mirror_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="No Debian mirror"):
        read_sources(tmp_path)


# ---- the cache ----


def test_what_is_cached_needs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    directory = tmp_path / "binder-observe/kernels/6.1"
    assert kernels.cached("6.1") is None
    directory.mkdir(parents=True)
    assert kernels.cached("6.1") is None, "a directory without a marker is not complete"
    (directory / "release").write_text("6.1.0-40-amd64\n")
    kernel = kernels.fetch("6.1")
    assert kernel.release == "6.1.0-40-amd64"
    assert kernel.image == directory / "lib/modules/6.1.0-40-amd64/vmlinuz"


def test_an_unknown_generation_is_refused() -> None:
    with pytest.raises(KernelError, match=r"6\.1, 6\.12, 7"):
        kernels.fetch("5.10")


# ---- guests ----


@pytest.mark.slow
def test_a_guest_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    late = tmp_path / "late"
    script = f"(sleep 2; touch {late}) & echo the console says this; wait"
    begin = time.monotonic()
    with pytest.raises(GuestError, match=r"not done after 0\.5 s") as caught:
        guest.watch(["bash", "-c", script], tmp_path, timeout=0.5)
    assert time.monotonic() - begin < 2
    assert "the console says this" in str(caught.value)
    time.sleep(2)
    assert not late.exists()


def test_a_guest_may_ignore_a_polite_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "GRACE_SECONDS", 0.2)
    with pytest.raises(GuestError):
        guest.watch(["bash", "-c", "trap '' TERM; while :; do sleep 1; done"], tmp_path, timeout=0.2)


def test_a_guest_that_ends_by_itself_is_timed(tmp_path: Path) -> None:
    assert 0.1 < guest.watch(["sleep", "0.2"], tmp_path, timeout=10) < 5


def test_a_guest_that_never_boots_is_ended_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "BOOT_SECONDS", 0.3)
    assert guest.watch(["sleep", "30"], tmp_path, timeout=60) < 10


class Emulator:
    """Stands in for `guest.watch`: each boot leaves what the next of `boots` says, by file name."""

    def __init__(self, *boots: dict[str, str]) -> None:
        self.boots = list(boots)

    def __call__(self, command: list[str], results: Path, timeout: float) -> float:
        for name, text in {"console.log": "", **self.boots.pop(0)}.items():
            (results / name).write_text(text)
        return 1.0


CRASHED = {"console.log": "[    1.1] Oops: int3: 0000 [#1] SMP NOPTI", "output.log": "", "half": "done"}
HUNG = {"console.log": "[    1.1] clocksource: ..."}
FAILED = {"output.log": "a lot", "status": "7"}
ENDED = {"output.log": "not much"}


def boot(monkeypatch: pytest.MonkeyPatch, results: Path, *boots: dict[str, str]) -> guest.Outcome:
    monkeypatch.setattr(guest, "watch", Emulator(*boots))
    monkeypatch.setattr(guest, "_command", lambda *_: ["vng"])
    kernel = kernels.Kernel("6.1", "6.1.0-40-amd64", results.parent)
    return guest.run(kernel, "true", results, timeout=60)


def test_a_guest_that_its_emulator_broke_is_booted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = boot(monkeypatch, tmp_path / "results", CRASHED, HUNG, FAILED)
    assert (outcome.status, outcome.output) == (7, "a lot")
    assert not (outcome.results / "half").exists()


def test_an_emulator_that_breaks_every_guest_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GuestError, match="newer QEMU"):
        boot(monkeypatch, tmp_path / "results", HUNG, CRASHED, HUNG, FAILED)


def test_a_guest_that_ends_in_its_script_is_not_booted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GuestError, match=r"(?s)ended before its script.*not much"):
        boot(monkeypatch, tmp_path / "results", ENDED, FAILED)


def test_results_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    kernel = kernels.Kernel("6.1", "6.1.0-40-amd64", tmp_path)
    with pytest.raises(GuestError, match="not empty"):
        guest.run(kernel, "true", tmp_path, timeout=1)


def test_a_path_that_virtme_ng_would_split_is_refused(tmp_path: Path) -> None:
    kernel = kernels.Kernel("6.1", "6.1.0-40-amd64", tmp_path)
    with pytest.raises(GuestError, match="cannot take the path"):
        guest.run(kernel, "true", tmp_path / "two words", timeout=1)


def test_a_failed_script_shows_the_end_of_its_output(tmp_path: Path) -> None:
    (tmp_path / "output.log").write_text("first\nlast\n")
    outcome = guest.Outcome(status=3, results=tmp_path, seconds=1.0)
    with pytest.raises(GuestError, match=r"(?s)status 3.*last"):
        outcome.check()


# ---- lists ----


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workload.build(tmp_path_factory.mktemp("workload"))


def check(program: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, "--check", path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", sorted(workload.LISTS.glob("*.requests")), ids=lambda path: path.stem)
def test_our_lists_are_well_formed(program: Path, path: Path) -> None:
    done = check(program, path)
    assert (done.returncode, done.stderr) == (0, "")


BEGINNING = "open m binder\nopen c binder\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("leap c binder\n", 1, "there is no request leap"),
        ("\n# nothing\nopen c\n", 3, "CONTEXT is missing"),
        ("open c b/d\n", 1, "letters, digits"),
        ("open c binder bytes=big\n", 1, "whole number"),
        ("open c binder size=4096\n", 1, "what is size=4096"),
        ("open c binder\nopen c binder\n", 2, "open already"),
        ("free a\n", 1, "nothing was sent as a"),
        ("exit c\n", 1, "has not opened anything"),
        (BEGINNING + "call c binder data=8 reply=8 a\n", 3, "expected as NAME"),
        (BEGINNING + "call c binder data=8 as a\n", 3, "reply= is missing"),
        (BEGINNING + "call c binder data=8 data=9 reply=0 as a\n", 3, "what is data=9"),
        (BEGINNING + "call c binder data=47 objects=2 reply=0 as a\n", 3, "too small for 2 objects"),
        (BEGINNING + "call c binder data=0 extra=4 reply=0 as a\n", 3, "multiple of 8"),
        (BEGINNING + "call c hwbinder data=0 reply=0 as a\n", 3, "does not have hwbinder open"),
        (BEGINNING + "call m binder data=0 reply=0 as a\n", 3, "cannot call itself"),
        (BEGINNING + "oneway c binder data=0 as a\nfree a.reply\n", 4, "one-way"),
        (BEGINNING + "oneway c binder data=0 as a\noneway c binder data=0 as a\n", 4, "a is taken"),
        (
            BEGINNING + "oneway c binder data=0 as a\noneway c binder data=0 as b\nfree b\n",
            5,
            "a comes first",
        ),
        (BEGINNING + "oneway c binder data=0 as a\nfree a\nfree a\n", 5, "freed already"),
        (
            BEGINNING + "call c binder data=0 reply=0 as a\nclose c binder\nfree a.reply\n",
            5,
            "closed its file",
        ),
        (BEGINNING + "unmap c binder\nunmap c binder\n", 4, "unmapped already"),
        (BEGINNING + "exit c\nopen c binder\n", 4, "has exited"),
        (BEGINNING + "fork c m\n", 3, "exists already"),
        (BEGINNING + "fork c d\ncall d binder data=0 reply=0 as a\n", 4, "only inherited"),
        (BEGINNING + "checkpoint x\ncheckpoint x\n", 4, "checkpoint x already"),
        (
            BEGINNING + "flood binder senders=m threads=1 count=1 min=0 max=1 mode=sync seed=1\n",
            3,
            "cannot call itself",
        ),
        (
            BEGINNING + "flood binder senders=c threads=1 count=1 min=2 max=1 mode=sync seed=1\n",
            3,
            "min is larger than max",
        ),
        (
            BEGINNING
            + "oneway c binder data=0 as a\n"
            + "flood binder senders=c threads=1 count=1 min=0 max=1 mode=sync seed=1\n",
            4,
            "free the one-way buffers",
        ),
    ],
)
def test_a_malformed_list_is_refused(program: Path, tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = tmp_path / "bad.requests"
    path.write_text(text)
    done = check(program, path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}:{line}: ")
    assert reason in done.stderr


def test_a_file_that_a_child_keeps_keeps_its_manager(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "good.requests"
    path.write_text(
        BEGINNING
        + "call c binder data=0 reply=0 as a\nfork m n\nexit m\n"
        + "call c binder data=0 reply=0 as b\nfree b\nfree a.reply\n"
        + "exit n\nopen o binder\ncall c binder data=0 reply=0 as d\nfree d\n"
    )
    done = check(program, path)
    assert (done.returncode, done.stderr) == (2, f"{path}:7: process m, which held b, has closed its file\n")


def test_usage_is_shown(program: Path) -> None:
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: workload")
