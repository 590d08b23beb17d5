import io
from contextlib import redirect_stderr

import pytest

from freshet.progress import Bar, bar, say
from tests.freshet.terminal import Terminal


def test_bar_tells_done_and_all_and_how_many_a_second() -> None:
    seconds = iter([100.0, 102.0, 104.0])
    content = Bar("content", "items", clock=lambda: next(seconds))

    with redirect_stderr(Terminal()) as terminal:
        content(256, 3_883)
        content(3_882, 3_883)

    assert terminal.drawn == [
        "content [#...................] 256/3,883 items, 128 items/s",
        "content [###################.] 3,882/3,883 items, 970 items/s",
    ]
    assert terminal.lines == terminal.drawn[-1:]


def test_what_comes_after_a_full_or_an_empty_bar_is_timed_anew() -> None:
    seconds = iter([0.0, 50.0, 52.0, 60.0, 64.0])
    content = Bar("content", "items", clock=lambda: next(seconds))

    with redirect_stderr(Terminal()) as terminal:
        for done, total in ((10, 10), (6, 20), (0, 20), (6, 20)):
            content(done, total)

    rates = [line.split(", ")[1] for line in terminal.drawn]
    assert rates == ["0.2 items/s", "3.0 items/s", "0.0 items/s", "1.5 items/s"]


def test_line_takes_the_place_of_the_bar_which_is_drawn_again_below() -> None:
    with redirect_stderr(Terminal()) as terminal, bar("content", "items") as on_progress:
        on_progress(1, 3)
        say("a note")
        on_progress(2, 3)

        assert terminal.lines[0] == "a note"
        assert terminal.lines[1].startswith("content [#############.......] 2/3 items, ")


def fail_after_a_step() -> None:
    with bar("content", "items") as on_progress:
        on_progress(1, 3)
        raise OSError("full")


def test_bar_is_gone_when_its_work_fails() -> None:
    with redirect_stderr(Terminal()) as terminal, pytest.raises(OSError, match="full"):
        fail_after_a_step()

    assert len(terminal.drawn) == 1
    assert terminal.lines == [""]


def test_away_from_a_terminal_lines_are_plain_and_nothing_is_redrawn() -> None:
    with redirect_stderr(io.StringIO()) as file:
        with bar("epoch", "targets") as silent:
            silent(1, 3)
        with bar("content", "items", plain=lambda done, total: say(f"{done} of {total}")) as on_progress:
            on_progress(1, 3)

    assert file.getvalue() == "1 of 3\n"
