"""One certificate authority for all tests: making keys takes a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.testing.fake_kubelet import CertificateAuthority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("token-1\n", encoding="ascii")
    return path
