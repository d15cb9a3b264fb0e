"""Keys: which there are, what each allows, how a browser signs in, what a wrong one costs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers
from support.commands import Commands, serve
from support.sample import Sample
from support.servers.api_samples import NOWHERE, assert_problem
from support.servers.locked import FULL_KEY, KEYRING, READ_KEY, WAIT_S, Site, site

from api.cli.commands.serve import listen
from api.http.auth.access import COOKIE, READ_ONLY_POSTS, SESSION_PATH, needed_access
from api.http.auth.authentication import (
    MAX_ADDRESSES,
    MAX_SESSIONS,
    MAX_WRONG_KEYS,
    SESSION_S,
    WRONG_KEYS_WINDOW_S,
    Authenticator,
    Sessions,
    WrongKeys,
    session_from_headers,
)
from api.http.auth.keys import MIN_KEY_CHARS, Access, Keyring, keyring_from_settings
from api.http.problems import ProblemResponse
from api.settings import Settings
from search.errors import UsageError

OPEN_ROUTES = {
    "/",
    "/search",
    "/photo/{_photo_id}",
    "/picture/{_picture_id}",
    "/web/{name:path}",
    "/health",
    "/ready",
}
LONG = "k" * MIN_KEY_CHARS


@pytest.fixture(scope="module")
def locked(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(stock, tmp_path_factory.mktemp("locked"), KEYRING) as here:
        yield here


# what each request takes


def test_every_route_has_its_needed_access(locked: Site) -> None:
    described = locked.app.openapi()["paths"]
    writing = {
        (method.upper(), path)
        for path, methods in described.items()
        for method in methods
        if method not in ("get", "head") and path != SESSION_PATH
    }
    taken_by_readers = {pair for pair in writing if needed_access(*pair) is not Access.FULL}
    assert taken_by_readers == {("POST", path) for path in READ_ONLY_POSTS}
    assert {("POST", "/v1/ingest"), ("DELETE", "/v1/jobs/{job_id}")} <= writing - taken_by_readers
    reading = {path for path, methods in described.items() if "get" in methods}
    assert {path for path in reading if needed_access("GET", path) is None} == {
        "/health",
        "/ready",
    }


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v1/unheard-of", Access.FULL),
        ("POST", "/v1/search/", Access.FULL),
        ("PUT", "/v1/search", Access.FULL),
        ("DELETE", f"/v1/photos/{NOWHERE}", Access.FULL),
        ("POST", "/internal/index/put_photo", Access.FULL),
        ("POST", "/", Access.FULL),
        ("BREW", "/health", Access.FULL),
        ("OPTIONS", "/v1/library", Access.FULL),
        ("GET", "/v1/unheard-of", Access.READ),
        ("GET", "/metrics", Access.READ),
        ("GET", "/openapi.json", Access.READ),
        ("GET", "/photo/a/b", Access.READ),
        ("GET", "/webs", Access.READ),
        ("GET", "/healthy", Access.READ),
        ("GET", "/health\n", Access.READ),
        ("HEAD", "/web/js/main.js", None),
        ("POST", SESSION_PATH, None),
        ("GET", SESSION_PATH, Access.READ),
    ],
)
def test_unlisted_routes_are_protected(method: str, path: str, needed: Access | None) -> None:
    assert needed_access(method, path) is needed


def test_the_openapi_document_lists_which_routes_need_a_key(locked: Site) -> None:
    paths = locked.app.openapi()["paths"]
    assert paths["/health"]["get"]["security"] == []
    assert paths["/v1/search"]["post"]["security"] == [{"key": []}, {"session": []}]
    assert "401" in paths["/v1/search"]["post"]["responses"]
    assert "403" not in paths["/v1/search"]["post"]["responses"]
    assert "403" in paths["/v1/ingest"]["post"]["responses"]


# keys in a header


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/library"),
        ("GET", "/v1/photos"),
        ("GET", f"/v1/photos/{NOWHERE}/image"),
        ("GET", "/v1/jobs"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("POST", "/v1/search"),
        ("POST", "/v1/ingest"),
        ("DELETE", "/v1/photos"),
        ("POST", "/internal/index/count"),
    ],
)
def test_without_a_key_requests_are_refused(locked: Site, method: str, path: str) -> None:
    answer = locked.ask(method, path, json={"text": "red"} if method == "POST" else None)
    assert_problem(answer, 401, "Authorization: Bearer")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"] == "AccessError"


def test_the_page_and_its_files_need_no_key(locked: Site) -> None:
    for path in ("/", "/search", f"/photo/{NOWHERE}", "/web/js/main.js", "/health"):
        assert locked.ask("GET", path).status_code == 200
    assert_problem(locked.ask("GET", "/web/../v1/library"), 401)
    assert_problem(locked.ask("GET", "/web/%2e%2e/v1/library"), 404)


def test_a_full_key_allows_everything(locked: Site) -> None:
    assert locked.ask("GET", "/v1/library", FULL_KEY).json()["photos"] == 4
    found = locked.ask("POST", "/v1/search", FULL_KEY, json={"text": "red"})
    assert found.json()["hits"]
    wrong = locked.ask("POST", "/v1/ingest", FULL_KEY, json={"root_id": "unknown"})
    assert_problem(wrong, 404, "no root")  # it got as far as that


def test_a_read_only_key_can_only_search_and_view(locked: Site) -> None:
    photo_id = locked.photos["flat.png"]
    for path in ("/v1/library", f"/v1/photos/{photo_id}/image?size=50", "/v1/jobs", "/metrics"):
        assert locked.ask("GET", path, READ_KEY).status_code == 200
    assert locked.ask("POST", "/v1/search", READ_KEY, json={"text": "red"}).status_code == 200
    for method, path in (
        ("POST", "/v1/ingest"),
        ("DELETE", f"/v1/jobs/{NOWHERE}"),
        ("DELETE", f"/v1/photos/{photo_id}"),
        ("POST", "/v1/unheard-of"),
        ("POST", "/internal/index/delete_photo"),
    ):
        refused = locked.ask(method, path, READ_KEY, json={} if method == "POST" else None)
        assert_problem(refused, 403, "read-only")


def test_the_library_tells_whether_the_key_may_change_it(locked: Site) -> None:
    assert locked.ask("GET", "/v1/library", READ_KEY).json()["may_change"] is False
    assert locked.ask("GET", "/v1/library", FULL_KEY).json()["may_change"] is True


@pytest.mark.parametrize(
    "sent", ["Bearer wrong-key-0123456789", f"Basic {FULL_KEY}", f"Bearer {FULL_KEY}x", "Bearer"]
)
def test_a_wrong_key_is_refused(locked: Site, sent: str) -> None:
    answer = locked.ask("GET", "/v1/library", headers={"Authorization": sent})
    assert_problem(answer, 401)
    assert answer.headers["content-security-policy"]  # like every other answer


def test_the_scheme_is_case_insensitive(locked: Site) -> None:
    headers = {"Authorization": f"bearer {READ_KEY}"}
    assert locked.ask("GET", "/v1/library", headers=headers).status_code == 200


def test_a_refusal_does_not_wait_for_the_body(locked: Site) -> None:
    head = "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n\r\n{"
    assert locked.http.base_url.port is not None
    address = ("127.0.0.1", locked.http.base_url.port)
    with socket.create_connection(address, timeout=WAIT_S) as connection:
        connection.sendall(head.encode())
        assert b" 401 " in connection.recv(100)


def test_reasons_for_not_being_ready_need_a_key(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path, KEYRING) as here:
        for _ in range(200):
            if here.ask("GET", "/ready").json()["ready"]:
                break
        here.library.index().close()  # the store goes
        told = here.ask("GET", "/ready", READ_KEY).json()["parts"]["index"]
        told_to_all = here.ask("GET", "/ready")
        assert told_to_all.status_code == 503
        assert told_to_all.json()["parts"]["index"] == "failed; the server's log says more"
        assert str(tmp_path) in told


# signing in


def test_a_browser_signs_in_and_out(locked: Site) -> None:
    with httpx.Client(base_url=locked.http.base_url, trust_env=False) as browser:
        assert_problem(browser.post(SESSION_PATH, json={"key": "open sesame, please"}), 401)
        answer = browser.post(SESSION_PATH, json={"key": FULL_KEY})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
        assert "secure" not in cookie  # over plain HTTP it would not come back
        assert FULL_KEY not in cookie
        picture = browser.get(f"/v1/photos/{locked.photos['flat.png']}/image")
        assert picture.headers["content-type"] == "image/jpeg"
        assert browser.post("/v1/ingest", json={"root_id": "unknown"}).status_code == 404
        kept = browser.cookies[COOKIE]
        assert browser.delete(SESSION_PATH).status_code == 204
        assert COOKIE not in browser.cookies
        again = browser.get("/v1/library", headers={"Cookie": f"{COOKIE}={kept}"})
        assert_problem(again, 401)


def test_over_https_the_cookie_is_secure(locked: Site) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    answer = locked.ask("POST", SESSION_PATH, json={"key": READ_KEY}, headers=headers)
    locked.http.cookies.clear()
    assert "; secure" in answer.headers["set-cookie"].lower()


def test_a_session_has_the_access_of_its_key(locked: Site) -> None:
    with httpx.Client(base_url=locked.http.base_url, trust_env=False) as browser:
        browser.post(SESSION_PATH, json={"key": READ_KEY})
        assert browser.post("/v1/search", json={"text": "red"}).status_code == 200
        assert_problem(browser.post("/v1/ingest", json={}), 403)


def test_another_site_can_not_use_a_session(locked: Site) -> None:
    with httpx.Client(base_url=locked.http.base_url, trust_env=False) as browser:
        browser.post(SESSION_PATH, json={"key": FULL_KEY})
        headers = {"Origin": "https://evil.example"}
        assert_problem(browser.post("/v1/ingest", json={}, headers=headers), 403, "other sites")


@pytest.mark.parametrize("cookie", ["", COOKIE, f"{COOKIE}=", f"{COOKIE}=x", "a=b; c", '"; x=\x80'])
def test_an_unknown_session_cookie_is_refused(locked: Site, cookie: str) -> None:
    answer = locked.ask("GET", "/v1/library", headers={"Cookie": cookie.encode("latin-1")})
    assert_problem(answer, 401)


@pytest.mark.parametrize("other", ['a={"b": 1}', "a=b c", "caf\xe9=1", "a:b/c=1", "flag", "a[0]=1"])
def test_a_malformed_cookie_of_another_server_does_no_harm(other: str) -> None:
    for cookies in (f"{other}; {COOKIE}=ours", f"{COOKIE}=ours; {other}"):
        assert session_from_headers(Headers({"cookie": cookies})) == "ours"


def test_sign_in_without_keys_is_refused(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path) as here:
        assert here.ask("GET", "/v1/library").status_code == 200
        assert_problem(here.ask("POST", SESSION_PATH, json={"key": FULL_KEY}), 422, "no key")


@dataclass
class Clock:
    """Time that passes when it is told to."""

    s: float = 1000.0

    def __call__(self) -> float:
        return self.s


def test_sessions_expire_and_are_limited_in_number() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    first, second = sessions.start(Access.READ), sessions.start(Access.FULL)
    assert (sessions.access(first), sessions.access(second)) == (Access.READ, Access.FULL)
    for _ in range(MAX_SESSIONS - 1):
        sessions.start(Access.READ)
    assert (sessions.access(first), sessions.access(second)) == (None, Access.FULL)
    clock.s += SESSION_S + 1
    assert sessions.access(second) is None


# wrong keys


def test_many_wrong_keys_are_rate_limited(stock: Path, tmp_path: Path) -> None:
    with site(stock, tmp_path, KEYRING) as here:
        signed_in = here.ask("POST", SESSION_PATH, json={"key": READ_KEY}).headers["set-cookie"]
        here.http.cookies.clear()
        for _ in range(MAX_WRONG_KEYS):
            assert here.ask("GET", "/v1/library", "not-this-one-either").status_code == 401
        for answer in (
            here.ask("GET", "/v1/library", FULL_KEY),
            here.ask("POST", SESSION_PATH, json={"key": FULL_KEY}),
        ):
            assert_problem(answer, 429, "127.0.0.1")
            assert 0 < int(answer.headers["retry-after"]) <= WRONG_KEYS_WINDOW_S
        elsewhere = {"X-Forwarded-For": "192.0.2.7"}  # as a proxy on this machine says
        assert here.ask("GET", "/v1/library", FULL_KEY, headers=elsewhere).status_code == 200
        cookie = {"Cookie": signed_in.split(";")[0]}
        assert here.ask("GET", "/v1/library", headers=cookie).status_code == 200


def test_the_rate_limit_exempts_own_commands() -> None:
    authenticator = Authenticator(KEYRING, token="shown by an ingest")
    for _ in range(MAX_WRONG_KEYS):
        authenticator.try_key("not-this-one-either", "127.0.0.1")
    refused = authenticator.try_key(FULL_KEY, "127.0.0.1")
    assert isinstance(refused, ProblemResponse)
    assert refused.status_code == 429
    assert authenticator.try_key("shown by an ingest", "127.0.0.1") is Access.FULL
    assert not isinstance(Authenticator(KEYRING).try_key("shown by an ingest", "127.0.0.1"), Access)


def test_wrong_keys_expire_and_addresses_are_limited_in_number() -> None:
    clock = Clock()
    wrong = WrongKeys(clock)
    for _ in range(MAX_WRONG_KEYS):
        assert wrong.wait_s("here") == 0
        wrong.add("here")
    assert wrong.wait_s("here") == WRONG_KEYS_WINDOW_S
    assert wrong.wait_s("there") == 0
    clock.s += WRONG_KEYS_WINDOW_S
    assert wrong.wait_s("here") == 0
    clock.s += 1
    wrong.add("here")
    assert wrong.wait_s("here") == 0  # counted anew
    for _ in range(MAX_WRONG_KEYS):
        wrong.add("here")
    for number in range(MAX_ADDRESSES):
        wrong.add(str(number))
    assert wrong.wait_s("here") == 0


# where keys come from


def test_keys_come_from_settings_and_files(tmp_path: Path) -> None:
    (tmp_path / "full.txt").write_text(f"# two people\n{LONG}1\n\n  {LONG}2  # the other\n")
    keyring = keyring_from_settings(
        Settings(api_keys=f"{LONG}3, {LONG}4", api_keys_file=tmp_path / "full.txt", read_keys=LONG)
    )
    assert [keyring.access(f"{LONG}{n}") for n in "1234"] == [Access.FULL] * 4
    assert keyring.access(LONG) is Access.READ
    assert [keyring.access(key) for key in ("", "#", f"{LONG}5", LONG[1:])] == [None] * 4
    assert str(keyring) == "4 full, 1 read-only"
    assert LONG not in repr(keyring)


def test_without_keys_the_keyring_is_empty() -> None:
    assert not keyring_from_settings(Settings())
    assert Keyring().access("") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("short", "fewer than 16 characters"),
        ("# nothing but a comment\n", "holds no key"),
        ("schlüssel-schlüssel", "ASCII"),
        (b"\xff\xfe\x00", "not text"),
        (None, "No such file"),
    ],
)
def test_an_invalid_key_file_is_an_error_without_its_keys(
    tmp_path: Path, text: str | bytes | None, says: str
) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=says) as raised:
        keyring_from_settings(Settings(api_keys_file=path))
    assert "api_keys_file" in str(raised.value)
    assert "schl" not in str(raised.value)


@pytest.mark.parametrize("name", ["api_keys", "read_keys"])
def test_empty_key_settings_are_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: it holds no key"):
        keyring_from_settings(Settings.model_validate({name: " , "}))


def test_a_key_is_either_full_or_read_only() -> None:
    with pytest.raises(UsageError, match="choose one"):
        keyring_from_settings(Settings(api_keys=LONG, read_keys=LONG))


def test_an_invalid_key_flag_is_not_echoed(run: Commands, tmp_path: Path) -> None:
    said = run.refused("serve", "--api-keys", "hunter2", "--library", tmp_path)
    assert "fewer than 16 characters" in said
    assert "hunter2" not in said


# serving


def test_a_public_address_requires_a_key(run: Commands) -> None:
    said = run.refused("serve", "--host", "0.0.0.0")
    assert "--api-keys-file" in said
    assert "secrets.token_urlsafe" in said
    with listen("0.0.0.0", 0, beyond_loopback=True) as listening:
        assert listening.getsockname()[0] == "0.0.0.0"


def test_other_commands_of_the_same_user_need_no_key(
    run: Commands, own: Path, sample: Sample
) -> None:
    config = own.parent / "keys.toml"
    config.write_text(f'api_keys = "{LONG}"\nhost = "0.0.0.0"\n')
    with serve(own, "--config", config) as server:
        assert httpx.get(f"{server.address}/v1/library", trust_env=False).status_code == 401
        found = run("search", "red", "--limit", 3, "--library", own, "--json").json["hits"]
        assert len(found) == 3
        assert run("status", "--library", own, "--json").json["photos"] > 0
        picture = sample.photo_of("green circle")
        args = ("search", "--image", picture, "--point", "20,20", "--library", own, "--json")
        assert run(*args).json["hits"]
