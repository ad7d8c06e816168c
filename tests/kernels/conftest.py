"""Each kernel is booted once; all tests look at what that boot left."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kernels import session
from tests.kernels.errors import GuestError, KernelError
from tests.kernels.session import Session


@pytest.fixture(scope="session", params=list(session.GENERATIONS))
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Skipped, with the reason, where there is no kernel or emulator; under CI=true that is a failure."""
    try:
        yield session.run(request.param, tmp_path_factory.mktemp("kernel") / request.param)
    except KernelError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    except GuestError as error:
        pytest.fail(str(error))
