"""A browser, or a clear reason why there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chrome import NAMES, Tab, browsing, find_chromium


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    chromium = find_chromium()
    if chromium is None:
        reason = f"no browser on PATH (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with browsing(chromium, tmp_path / "profile") as open_tab:
        yield open_tab
