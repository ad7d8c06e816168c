"""What Debian's texts say: sources, package descriptions, versions, where a kernel's meta packages lead."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.errors import KernelError

# Suites by name or by role, with what may follow: enough to tell a Debian mirror from any other repository.
_SUITE = re.compile(
    r"(buster|bullseye|bookworm|trixie|forky|sid|(old)*stable|testing|unstable)"
    r"(-updates|-backports|-proposed-updates)?"
)
_SECURITY_SUITE = re.compile(r"[a-z]+(-security|/updates)")
_EXACT = re.compile(r"\s*(?P<name>[^\s(|,]+)(?::any)?\s*\(= (?P<version>[^)]+)\)")


@dataclass(frozen=True)
class Mirror:
    """Where to fetch packages, and the option that says whose signature to accept."""

    uri: str
    options: str  # as in a one-line source: "[signed-by=...]", or nothing

    def source(self, suite: str) -> str:
        return f"deb {self.options} {self.uri} {suite} main"


@dataclass(frozen=True)
class Package:
    """One version of a package, as `apt-cache show` describes it."""

    name: str
    version: str
    depends: str

    def exact(self) -> list[tuple[str, str]]:
        """The dependencies that want exactly one version; of alternatives, the first."""
        return [
            (match["name"], match["version"]) for clause in self.depends.split(",") if (match := _EXACT.match(clause))
        ]


@dataclass(frozen=True)
class Parts:
    """The packages that together hold a kernel."""

    release: str  # what `uname -r` will say
    packages: list[tuple[str, str]]  # name, version


def parse_show(text: str) -> list[Package]:
    """What `apt-cache show` printed, newest version first."""
    packages = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(_fields(stanza))
        if "package" in fields and "version" in fields:
            packages.append(Package(fields["package"], fields["version"], fields.get("depends", "")))
    return sorted(packages, key=lambda package: version_key(package.version), reverse=True)


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    """The fields of one deb822 stanza; continuation lines are joined, comments dropped."""
    lines = [line for line in stanza.splitlines() if not line.startswith("#")]
    for match in re.finditer(r"^([A-Za-z0-9-]+):(.*(?:\n[ \t].*)*)", "\n".join(lines), re.MULTILINE):
        yield match[1].lower(), " ".join(match[2].split())


@functools.total_ordering
class _Version:
    """A Debian version in the order of dpkg (deb-version(7)): ~ before the end, the end before letters."""

    def __init__(self, text: str) -> None:
        epoch, colon, rest = text.partition(":")
        upstream, _, revision = (rest if colon else epoch).rpartition("-")
        self._parts = (
            int(epoch) if colon else 0,
            self._key(upstream or revision),
            self._key(revision if upstream else ""),
        )

    @staticmethod
    def _key(part: str) -> list[tuple[list[int], int]]:
        def weight(character: str) -> int:
            return -1 if character == "~" else ord(character) + (0 if character.isalpha() else 256)

        runs = re.findall(r"(\D*)(\d*)", part)
        return [([*map(weight, text), 0], int(digits or 0)) for text, digits in runs]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self._parts == other._parts

    def __lt__(self, other: _Version) -> bool:
        return self._parts < other._parts


def version_key(version: str) -> _Version:
    return _Version(version)


def read_sources(directory: Path = Path("/etc/apt")) -> tuple[Mirror, Mirror]:
    """The mirrors of Debian and of its security updates, from the machine's sources."""
    main = security = None
    for mirror, suites in _entries(directory):
        if any(_SECURITY_SUITE.fullmatch(suite) for suite in suites):
            security = security or mirror
        elif any(_SUITE.fullmatch(suite) for suite in suites):
            main = main or mirror
    if not main:
        raise KernelError(
            f"No Debian mirror is among the sources in {directory}: add one, as 'deb URI SUITE main' in "
            f"{directory}/sources.list"
        )
    # a mirror of Debian commonly has its security updates beside it
    return main, security or Mirror(main.uri.rstrip("/") + "-security", main.options)


def _entries(directory: Path) -> Iterator[tuple[Mirror, Sequence[str]]]:
    parts = sorted((directory / "sources.list.d").glob("*"))
    for path in itertools.chain([directory / "sources.list"], parts):
        if path.suffix == ".list" and path.is_file():
            yield from _one_line_entries(path.read_text())
        elif path.suffix == ".sources" and path.is_file():
            yield from _deb822_entries(path.read_text())


def _one_line_entries(text: str) -> Iterator[tuple[Mirror, Sequence[str]]]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?([a-z+]+:\S+)\s+(\S+)", line)
        if match and not match[2].startswith("cdrom:"):
            options = [word for word in (match[1] or "").split() if re.match("signed-by=|trusted=", word)]
            yield Mirror(match[2], f"[{' '.join(options)}]" if options else ""), [match[3]]


def _deb822_entries(text: str) -> Iterator[tuple[Mirror, Sequence[str]]]:
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = dict(_fields(stanza))
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        signed_by = fields.get("signed-by", "")  # a path; a key in full cannot be said in one line
        options = f"[signed-by={signed_by}]" if signed_by.startswith("/") and " " not in signed_by else ""
        for uri in fields.get("uris", "").split():
            yield Mirror(uri, options), fields.get("suites", "").split()


def resolve(image: Package, headers: str, show: Callable[[str], list[Package]]) -> Parts:
    """From the meta packages of a kernel to the packages that hold it.

    Args:
        image: one version of the meta package of the image.
        headers: name of the meta package of the headers, of which the same version is taken.
        show: every version of a package, by its name.

    Raises:
        KernelError: they lead to nothing, or to more than one kernel.
    """
    reached = _closure([(image.name, image.version), (headers, image.version)], show)
    names = [name for name, _ in reached if name != image.name]
    releases = [match[1] for name in names if (match := re.fullmatch(r"linux-image-(\d.*-amd64)", name))]
    if len(releases) != 1:
        raise KernelError(
            f"{image.name} {image.version} leads to {len(releases)} kernels by way of {', '.join(names)}: "
            "look at its dependencies, and mend tests/kernels"
        )
    common = releases[0].removesuffix("-amd64") + "-common"
    # a package without a release in its name is but another meta package
    return Parts(releases[0], [part for part in reached if part[0].endswith((releases[0], common))])


def _closure(packages: list[tuple[str, str]], show: Callable[[str], list[Package]]) -> list[tuple[str, str]]:
    """These packages and, of all they depend on, what they want in exactly one version."""
    reached: list[tuple[str, str]] = []
    while packages:
        name, version = packages.pop(0)
        if (name, version) in reached:
            continue
        found = [package for package in show(name) if package.version == version]
        if not found:
            raise KernelError(f"there is no {name} {version}")
        reached.append((name, version))
        packages.extend(found[0].exact())
    return reached
