import pytest

import cluster


def pytest_collection_modifyitems(items):
    if cluster.find_model() is None:
        skip = pytest.mark.skip(reason="no model: run launch/install.sh or set LOCKSTEP_TEST_MODEL")
        for item in items:
            item.add_marker(skip)


@pytest.fixture(scope="module")
def server():
    """Two ranks of one thread, shared by the tests of a file."""
    with cluster.Cluster(2) as running:
        yield running
