"""What the runbook quotes is what is said."""

import pytest

from tests.deploy.tools import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
QUOTED = {
    "`… is held by process …`": ("stream/embedded/file_lock.py", " is held by process "),
    "`the log … cannot be written: …`": ("stream/embedded/store.py", " cannot be written: "),
    "`connecting to …: …`": ("stream/kafka/connect.py", "connecting to "),
    "`cannot listen on …`": ("freshet", "cannot listen on "),
}


@pytest.mark.parametrize("line", QUOTED)
def test_a_line_is_quoted_as_the_code_says_it(line: str) -> None:
    place, text = QUOTED[line]
    path = ROOT / place
    sources = [path] if path.is_file() else sorted(path.rglob("*.py"))

    assert f"{line} " in RUNBOOK
    assert any(text in source.read_text() for source in sources)
