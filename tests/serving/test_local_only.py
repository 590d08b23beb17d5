import pytest

from tests.serving.world import AppClient


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"Host": "shop.example:8000"}, "host 'shop.example:8000' is not this machine; use localhost or 127.0.0.1"),
        ({"Origin": "https://shop.example"}, "a page of 'https://shop.example' may not send requests here"),
        ({"Origin": "http://localhost:9999"}, "a page of 'http://localhost:9999' may not send requests here"),
        ({"Origin": "http://["}, "a page of 'http://[' may not send requests here"),
        ({"Origin": "null"}, "a page of 'null' may not send requests here"),
    ],
)
def test_request_of_a_foreign_page_is_refused(client: AppClient, headers: dict[str, str], detail: str) -> None:
    answer = client.post("/v1/models/rollback", headers=headers)

    assert answer.status_code == 403
    assert answer.json()["detail"] == detail


def test_own_page_may_send_requests(client: AppClient) -> None:
    event = {"user_id": "ada", "item_id": "mug"}

    answer = client.post("/v1/events", json=event, headers={"Origin": "http://localhost"})

    assert answer.status_code == 202
