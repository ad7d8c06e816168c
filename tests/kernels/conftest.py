"""Each kernel is booted once; all tests look at what that boot left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kernels import session
from tests.kernels.errors import GuestError, KernelError
from tests.kernels.session import Session


@pytest.fixture(scope="session")
def boots(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Session]]]:
    """The boots that the selected tests ask for, all at once: of guests in turns the last leaves processors idle."""
    wanted = {item.callspec.params.get("booted") for item in request.session.items if hasattr(item, "callspec")}
    directory = tmp_path_factory.mktemp("kernel")
    with ThreadPoolExecutor(len(session.GENERATIONS)) as pool:
        yield {k: pool.submit(session.run, k, directory / k) for k in session.GENERATIONS if k in wanted}


@pytest.fixture(scope="session", params=list(session.GENERATIONS))
def booted(request: pytest.FixtureRequest, boots: dict[str, Future[Session]]) -> Session:
    """Skipped, with the reason, where there is no kernel or emulator; under CI=true that is a failure."""
    try:
        return boots[request.param].result()
    except KernelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    except GuestError as error:
        pytest.fail(str(error))
