from __future__ import annotations

import pytest

from culnig.reporting.page import Report
from tests.reporting.samples import Sample, write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Sample:
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def report(sample) -> Report:
    return Report(sample.sources())


@pytest.fixture(scope="session")
def page_file(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path)
    return path
