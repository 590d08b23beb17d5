from stream.windows.due import DueUsers


def test_users_come_in_the_order_of_their_times() -> None:
    due = DueUsers()
    for user_id, due_ms in [("c", 30), ("a", 10), ("b", 20)]:
        due.note(user_id, due_ms)
    assert due.pop(9) == []
    assert due.pop(20) == ["a", "b"]
    assert len(due) == 1


def test_only_an_earlier_time_changes_a_users_place() -> None:
    due = DueUsers()
    for due_ms in (30, 40, 20):
        due.note("a", due_ms)
    assert (due.pop(19), due.pop(20), due.pop(99)) == ([], ["a"], [])


def test_user_noted_again_comes_again() -> None:
    due = DueUsers()
    due.note("a", 10)
    due.pop(10)
    due.note("a", 30)
    assert (due.pop(20), due.pop(30)) == ([], ["a"])


def test_no_more_than_the_limit_come_at_once() -> None:
    due = DueUsers()
    for number in range(5):
        due.note(f"u{number}", number)
    assert due.pop(9, limit=2) == ["u0", "u1"]
    assert due.pop(9) == ["u2", "u3", "u4"]


def test_forgotten_user_does_not_come() -> None:
    due = DueUsers()
    due.note("a", 10)
    due.forget("a")
    due.forget("nobody")
    assert (due.pop(99), len(due)) == ([], 0)
    due.note("a", 20)
    assert (due.pop(19), due.pop(20), due.pop(99)) == ([], ["a"], [])
