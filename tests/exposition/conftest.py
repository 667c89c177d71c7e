"""One certificate authority for all tests: making keys takes a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exposition.pki import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("web_authority"))
    authority.issue("server")
    authority.issue("scraper", sans="DNS:scraper.example,URI:spiffe://cluster/scraper", usage="clientAuth")
    authority.issue("other", sans="DNS:other.example", usage="clientAuth")
    authority.encrypt("server")
    return authority


@pytest.fixture
def folder(authority: Authority, tmp_path: Path) -> Path:
    authority.copy_to(tmp_path)
    return tmp_path
