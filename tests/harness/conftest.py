"""Real sshd processes for the tests of the transport."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.hosts.ssh.remote import Remote
from tests.harness.sshd import Sshd


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path) as sshd:
        yield sshd


@pytest.fixture
def remote(shared: Sshd) -> Iterator[Remote]:
    shared.write_config()
    with Remote("here", shared.config) as remote:
        yield remote
