"""A browser, or a clear reason why there is none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chrome import NAMES, Tab, browsing, find_chromium
from tests.skipping import skip_unless_ci


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    chromium = find_chromium()
    if chromium is None:
        skip_unless_ci(f"no browser on PATH (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium")
    with browsing(chromium, tmp_path / "profile") as open_tab:
        yield open_tab
