"""What a number was made with: whatever computes counts, whatever only carries does not."""

from __future__ import annotations

import pytest

from mflib.base import made_by

TEXTURE = "mflib.models.texture.bank"


@pytest.mark.parametrize(
    ("package", "counts"), [("numpy", True), ("numba", True), ("filelock", False), ("joblib", False)]
)
def test_an_upgrade_counts_where_it_may_change_a_number(
    monkeypatch: pytest.MonkeyPatch, package: str, counts: bool
) -> None:
    before, installed = made_by.digest(TEXTURE), made_by.versions
    assert package in made_by.closure(TEXTURE)[1]

    def upgraded(*names: str) -> dict[str, str]:
        return installed(*names) | ({package: "99.0"} if package in names else {})

    monkeypatch.setattr(made_by, "versions", upgraded)
    assert (made_by.digest.__wrapped__(TEXTURE) != before) is counts
