"""Three stock Debian kernels, one of each generation of the binder allocator, with their modules and headers.

    python -m tests.kernels.kernels [GENERATION...]

fetches what is not in the cache yet, some 120 MB each. Nothing is installed; what is cached needs no network.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.kernels.apt import Apt
from tests.kernels.debian import Mirror, Package, Parts, read_sources, resolve
from tests.kernels.errors import KernelError

__all__ = ["GENERATIONS", "Kernel", "KernelError", "cache_directory", "cached", "fetch"]


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot: `directory` has lib/modules/RELEASE, the image in it, and src/linux-headers-*."""

    generation: str
    release: str  # what `uname -r` says
    directory: Path

    @property
    def modules(self) -> Path:
        return self.directory / "lib/modules" / self.release

    @property
    def image(self) -> Path:
        return self.modules / "vmlinuz"


@dataclass(frozen=True)
class _Origin:
    """The meta packages that lead to the newest kernel of a generation, and the suites that have them."""

    image: str
    headers: str
    suites: Sequence[str]


_ORIGINS: Final[Mapping[str, _Origin]] = MappingProxyType(
    {
        "6.1": _Origin("linux-image-amd64", "linux-headers-amd64", ("bookworm-security", "bookworm")),
        "6.12": _Origin("linux-image-6.12-amd64", "linux-headers-6.12-amd64", ("bookworm-security",)),
        "7": _Origin("linux-image-amd64", "linux-headers-amd64", ("trixie-backports",)),
    }
)
GENERATIONS: Final = tuple(_ORIGINS)

# Drivers of hardware that no emulator has: three quarters of all modules.
_UNWANTED: Final = (
    *("sound", "drivers/gpu", "drivers/media", "drivers/net/*", "drivers/infiniband", "drivers/scsi"),
    *("drivers/usb", "drivers/staging", "drivers/iio", "drivers/hwmon", "drivers/mtd", "drivers/comedi"),
)
_MARKER: Final = "release"  # written last: its presence says that the directory is complete


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "binder-observe"


def cached(generation: str) -> Kernel | None:
    """The kernel, if it is in the cache."""
    if generation not in _ORIGINS:
        raise KernelError(f"There is no kernel generation {generation}: choose from {', '.join(GENERATIONS)}")
    directory = cache_directory() / "kernels" / generation
    try:
        release = (directory / _MARKER).read_text().strip()
    except FileNotFoundError:
        return None
    return Kernel(generation, release, directory)


def fetch(generation: str) -> Kernel:
    """The kernel, from the cache or, the first time, from Debian.

    Raises:
        KernelError: it cannot be had; says what is missing and what mends it.
    """
    kernel = cached(generation)
    if kernel:
        return kernel
    _need_tools()
    final = cache_directory() / "kernels" / generation
    with _lock(final):
        kernel = cached(generation)  # another process may have fetched it while this one waited
        if kernel:
            return kernel
        partial = final.with_name(f".{generation}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a fetch that was killed
        shutil.rmtree(final, ignore_errors=True)
        try:
            release = _download_and_extract(generation, partial)
            (partial / _MARKER).write_text(f"{release}\n")
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Kernel(generation, release, final)


@contextmanager
def _lock(final: Path) -> Iterator[None]:
    final.parent.mkdir(parents=True, exist_ok=True)
    with final.with_name(f".{final.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _need_tools() -> None:
    if platform.machine() != "x86_64":
        raise KernelError(f"The kernels are for x86_64, and this is {platform.machine()}: use another machine")
    for tool, package in (("dpkg-deb", "dpkg"), ("tar", "tar"), ("xz", "xz-utils"), ("depmod", "kmod")):
        if not _which(tool):
            raise KernelError(f"There is no {tool}: apt-get install {package}")


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def _download_and_extract(generation: str, directory: Path) -> str:
    """Leaves a finished kernel in the directory; returns its release."""
    origin = _ORIGINS[generation]
    apt = Apt(directory / "apt", _sources(origin, *read_sources()))
    images = apt.show(origin.image)
    if not images:
        raise KernelError(
            f"There is no {origin.image} in {' or '.join(origin.suites)} any more: "
            f"find where generation {generation} is now, and mend tests/kernels/kernels.py"
        )
    parts = _download(apt, images, origin.headers, directory / "root")
    _arrange(directory, parts.release)
    shutil.rmtree(directory / "apt")
    return parts.release


def _download(apt: Apt, images: Sequence[Package], headers: str, root: Path) -> Parts:
    """Fetches and unpacks the newest version that is whole: a mirror may lead to what it lacks."""
    trouble: KernelError | None = None
    for image in images:
        try:
            parts = resolve(image, headers, apt.show)
            debs = apt.download(parts.packages)
        except KernelError as error:
            trouble = error
        else:
            for deb in debs:
                _extract(deb, root)
            return parts
    raise KernelError(f"No version of {images[0].name} can be had: {trouble}; try again later") from trouble


def _sources(origin: _Origin, main: Mirror, security: Mirror) -> list[str]:
    return [(security if suite.endswith("-security") else main).source(suite) for suite in origin.suites]


def _extract(deb: Path, root: Path) -> None:
    root.mkdir(exist_ok=True)
    excludes = [f"--exclude=*/kernel/{directory}/*" for directory in _UNWANTED] + ["--exclude=./usr/share"]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpacked:
        tar = subprocess.run(["tar", "-x", "-C", str(root), *excludes], stdin=unpacked.stdout, check=False)
    if tar.returncode or unpacked.returncode:
        raise KernelError(f"{deb.name} cannot be unpacked: make room in {cache_directory()} and try again")


def _arrange(directory: Path, release: str) -> None:
    """Brings the parts into one layout, wherever the packages have them, with links that stay inside it."""
    root, modules = directory / "root", directory / "lib/modules" / release
    modules.mkdir(parents=True)
    for parts in (root / "lib/modules" / release, root / "usr/lib/modules" / release):
        for part in list(parts.glob("*")):
            if not part.is_symlink():  # build and source
                part.rename(modules / part.name)
    if not (modules / "vmlinuz").exists():
        (root / "boot" / f"vmlinuz-{release}").rename(modules / "vmlinuz")
    (root / "usr/src").rename(directory / "src")
    for link, headers in (("build", release), ("source", release.removesuffix("-amd64") + "-common")):
        (modules / link).symlink_to(f"../../../src/linux-headers-{headers}")
        if not (modules / link / "include").is_dir():
            raise KernelError(f"The headers of {release} are not in src/linux-headers-*: mend tests/kernels")
    shutil.rmtree(root)
    depmod = _which("depmod") or "depmod"
    subprocess.run([depmod, "-b", str(directory), release], check=True)


def main(generations: Sequence[str]) -> int:
    try:
        for generation in generations or GENERATIONS:
            kernel = fetch(generation)
            print(f"{generation}: {kernel.release} in {kernel.directory}")
    except KernelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
