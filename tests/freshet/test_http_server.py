import socket

import httpx
import pytest
from fastapi import FastAPI

from freshet.http_server import HttpServer, PortTaken


def app() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    def hello() -> str:
        return "hello"

    return app


def test_it_answers_at_the_address_it_names_until_it_is_stopped() -> None:
    server = HttpServer(app(), host="127.0.0.1", port=0)
    server.start()
    try:
        assert httpx.get(server.url).json() == "hello"
    finally:
        url = server.url
        server.stop()

    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_port_that_somebody_listens_on_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTaken, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--port N or FRESHET_PORT"):
            HttpServer(app(), host="127.0.0.1", port=port)


def test_second_server_on_a_port_is_refused_before_either_is_started() -> None:
    first = HttpServer(app(), host="127.0.0.1", port=0)
    port = int(first.url.rsplit(":", 1)[1])

    with pytest.raises(PortTaken):
        HttpServer(app(), host="127.0.0.1", port=port)

    first.stop()


def test_port_is_free_again_after_a_server_that_never_started() -> None:
    first = HttpServer(app(), host="127.0.0.1", port=0)
    port = int(first.url.rsplit(":", 1)[1])
    first.stop()

    HttpServer(app(), host="127.0.0.1", port=port).stop()


def test_address_of_version_six_stands_in_brackets() -> None:
    try:
        server = HttpServer(app(), host="::1", port=0)
    except PortTaken as exc:
        pytest.skip(f"no IPv6 here: {exc}")

    assert server.url.startswith("http://[::1]:")
    server.stop()
