from collections.abc import Callable
from pathlib import Path

from models.durable import write_durably


def test_bytes_are_forced_to_the_disk_before_they_have_their_name_and_the_name_after(
    tmp_path: Path, disk_steps: Callable[[Path], list[str]]
) -> None:
    write_durably(tmp_path / "card.json", b"{}")

    assert disk_steps(tmp_path) == ["force card.json", "rename card.json", "force ."]
