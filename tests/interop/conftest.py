"""One ensemble of three real ZooKeeper servers, shared by the tests: a start costs each JVM about a second of CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ensembles import Servers


@pytest.fixture(scope="session")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    hosts = {"n1": "zookeeper", "n2": "zookeeper", "n3": "zookeeper"}
    with Servers(tmp_path_factory.mktemp("zookeeper"), hosts) as servers:
        servers.start()
        servers.wait_until_all_serve()
        yield servers
