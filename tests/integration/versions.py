"""Which PostgreSQL the tests run against, and what of it a test needs.

A test says by a mark what it needs of the server; elsewhere it is skipped, with the version as the reason. Nothing else may skip it.
"""
import pytest

from pgserver import major_version

MAJOR = major_version()


def since(version, what):
    """A mark: the test is about something that older servers have not."""
    return pytest.mark.skipif(MAJOR < version, reason=f"PostgreSQL {MAJOR}: {what} from {version} on")


def before(version, what):
    """A mark: the test is about something that newer servers do not do any more."""
    return pytest.mark.skipif(MAJOR >= version, reason=f"PostgreSQL {MAJOR}: {what} before {version}")
