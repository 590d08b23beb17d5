"""The page's files: where they are, and what a browser may do with them."""

import re
from pathlib import Path
from typing import get_args

import pytest

from serving.feed_maker import Degraded
from tests.serving.world import AppClient

STATIC = Path(__file__).parents[2] / "serving" / "static"


def test_the_page_and_every_file_it_names_are_served(client: AppClient) -> None:
    page = client.get("/")
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert len(named) >= 3
    for path in named:
        assert client.get(path).status_code == 200, path


def test_the_page_may_load_nothing_from_elsewhere_and_run_no_inline_script(client: AppClient) -> None:
    page = client.get("/")

    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*src=)|\son[a-z]+=|\sstyle=", page.text)


@pytest.mark.parametrize("name", ["index.html", "page.css", "page.js", "view.js", "api.js", "key.js", "pictures.js"])
def test_no_file_of_the_page_names_another_host(name: str) -> None:
    assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", (STATIC / name).read_text())


def test_a_file_that_is_not_there_is_a_problem(client: AppClient) -> None:
    for path in ("/static/none.js", "/static/..%2F..%2Fpyproject.toml", "/static/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_static_files_carry_the_policy_too(client: AppClient) -> None:
    answer = client.get("/static/page.js")

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "javascript" in answer.headers["content-type"]


def test_api_documentation_needs_no_other_host(client: AppClient) -> None:
    page = client.get("/docs")

    assert page.status_code == 200
    assert "https://" not in page.text
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f'"/docs-assets/{asset}"' in page.text
        assert client.get(f"/docs-assets/{asset}").status_code == 200


@pytest.mark.parametrize("reason", get_args(Degraded))
def test_the_page_says_in_words_why_popular_items_stand_in(reason: str) -> None:
    assert re.search(rf'^  {reason}: ".+: popular items",$', (STATIC / "view.js").read_text(), re.MULTILINE)
