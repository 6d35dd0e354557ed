"""The web page before a real fleet, in a real browser: what it shows, what it changes, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually
from tests.machine_services import lacking

_QUIETLY = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
#: what would be markup, end a title, ring a bell, or turn the direction of a line
EVIL = "</title><script>document.title='hacked'</script><img src=x onerror=alert(1)>\x07\u202e"
EVIL_APP = f"""{APP}

@app.task(name={EVIL!r})
def evil(*args, **kwargs):
    print({EVIL!r}, flush=True)
    raise ValueError({EVIL!r})
"""
LONG = f"long.{'.'.join(['name'] * 20)}"
HIDING = FLEET.replace("mail: }", f"mail: , {LONG}: }}").replace("[mail]", f"[mail, {LONG}]")
HIDING += "ledger: {hide: [password]}\n"
_REPORT = "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI));"


@contextmanager
def serving(home: Home, *options: str) -> Iterator[tuple[str, str]]:
    """Serve the page of a fleet; give its address and its token."""
    with home.start("ui", "0", *options) as process:
        assert process.stdout
        try:
            said = process.stdout.readline()
            found = re.search(r"http://(\S+?)/", said)
            assert found, said + process.stdout.read()
            assert ("to look from elsewhere" in said) is ("--allow-host" in options), "it said that it takes no token"
            yield found[1], next(home.path.glob(".celeryfleet/*/ui.token")).read_text().strip()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, process.stdout.read()


@contextmanager
def browser() -> Iterator[tuple[Page, list[str]]]:
    """Give a page of a browser, and what it complains of."""
    program = shutil.which("chromium") or lacking("needs chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=_QUIETLY)
        page, said = opened.new_page(viewport={"width": 1280, "height": 800}), list[str]()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.add_init_script(_REPORT)
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page, said
        opened.close()


def ask(address: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Ask the page's server; return the status, what it says, and the headers."""
    connection = http.client.HTTPConnection(address, timeout=20)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        told = {"Content-Type": "application/json", "Origin": f"http://{address}", **told}
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), told)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    is_json = (reply.getheader("content-type") or "").startswith("application/json")
    return reply.status, json.loads(text) if is_json else text, reply.headers


def known(address: str, state: str) -> list[Any]:
    """List the tasks in a state."""
    return list(ask(address, f"/api/tasks?state={state}")[1]["tasks"])


def who_may_look_and_who_may_act(address: str, token: str) -> None:
    """Ask as others would."""
    status, found, headers = ask(address, "/api/session")
    assert (status, found["look"], found["act"]) == (200, True, False)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert ask(address, "/", Host="evil.example")[0] == 421
    assert ask(address, "/api/topology", X_Forwarded_For="10.0.0.1")[0] == 401, "a proxy looks for whom it will"
    assert ask(address, "/api/do/scale", {"pool": "web", "replicas": 2})[0] == 401
    given = ask(address, "/api/login", {"token": token})[2]["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=strict" in given
    cookie = given.partition(";")[0]
    evil = {"Cookie": cookie, "Origin": "http://127.0.0.1:1"}
    assert ask(address, "/api/do/scale", {"pool": "web", "replicas": 2}, **evil)[0] == 403
    for wrong in ({}, {"pool": "web", "replicas": -1}, {"pool": "web", "replicas": True}, [1]):
        assert ask(address, "/api/do/scale", wrong, Cookie=cookie)[0] == 400
    status, found, _ = ask(address, "/api/do/scale", {"pool": "wbe", "replicas": 2}, Cookie=cookie)
    assert (status, found["hint"]) == (400, 'Did you mean "web"?')
    assert ask(address, "/api/do/pause", {"queue": "low"}, Cookie=cookie)[0] == 400
    assert ask(address, "/api/do/anything", {}, Cookie=cookie)[0] == 404
    assert ask(address, "/../app.py")[0] == 404


@pytest.mark.timeout(180)
def test_a_browser_sees_what_happens_and_changes_the_fleet(home: Home) -> None:
    home.write(HIDING, EVIL_APP).up()
    home.run("send", "until", "go", "--count", "3", "--no-wait")
    evil = home.post(EVIL, EVIL, f"password={EVIL}")
    home.post("boom")
    with serving(home) as (address, token), browser() as (page, said):
        who_may_look_and_who_may_act(address, token)
        page.goto(f"http://{address}/")
        # The fleet, alive, without the token: what waits and runs, and no way to change it.
        expect(page.locator("#state")).to_have_text("ready")
        expect(page.locator("[id='queue:mail'] .depth")).to_have_text("2")
        expect(page.locator("[id='pool:mail'] i.busy")).to_have_count(1)
        expect(page.locator(".edges path")).to_have_count(5)
        assert page.locator(".sizes").count() == 0
        # With it.
        page.click("#sign")
        page.fill("[name=token]", "a wrong token")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("that is not the token")
        assert "401" in said.pop(), "what the browser itself says of a refusal"
        page.click("#sign")
        page.fill("[name=token]", token)
        page.keyboard.press("Enter")
        page.click("[aria-label='a worker more in web']")
        expect(page.locator("[id='pool:web']")).to_contain_text("2 of 2")
        # A queue: what is taken next, paused, and moved.
        page.click("[id='queue:mail'] a")
        expect(page.locator("tbody tr")).to_have_count(2)
        expect(page.locator(".why")).to_contain_text("mail-1 is busy with shop.until")
        page.click("text=Pause")
        expect(page.locator("h1")).to_contain_text("paused")
        page.click("text=Move")
        page.fill("[name=count]", "1")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("1 moved to default")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.click("text=Resume")
        # A task that runs is found by how its id begins, and ended.
        running = next(one["id"] for one in known(address, "running") if one["queue"] == "mail")
        page.keyboard.press("/")
        page.fill("#find", running[:8])
        expect(page.locator("tbody tr")).to_have_count(1)
        page.click("tbody a")
        expect(page.locator("h1")).to_contain_text("shop.until running")
        page.click("text=Revoke")
        page.check("[name=terminate]")
        page.click("dialog button.danger")
        expect(page.locator("h1")).to_contain_text("revoked")
        (home.path / "go").touch()
        # Tasks that failed, with names and errors that would be markup, are sent again; what is hidden is not shown.
        page.goto(f"http://{address}/#/failed")
        page.click("tr:has-text('</title><script>') a")
        expect(page.locator("h1")).to_contain_text("<img src=x onerror=alert(1)>\\u0007\\u202e failed")
        expect(page.locator("pre").first).to_contain_text("password='***'")
        expect(page.locator("pre").last).to_contain_text("Traceback (most recent call last)")
        expect(page.get_by_role("button", name="Retry")).to_be_disabled()
        assert page.title().startswith(evil)
        page.goto(f"http://{address}/#/failed")
        page.check("tbody tr:has-text('shop.boom') input")
        page.click("text=Retry 1")
        expect(page.locator("#said")).to_contain_text("1 task sent again")
        expect(page.locator("tbody tr")).to_have_count(3)
        # A canvas is a tree, whichever of its tasks is looked at.
        home.run("canvas", "add.s(1, 2) | add.s(3) | add.s(4)")
        page.goto(f"http://{address}/#/tasks?find=shop.add")
        expect(page.locator("tbody tr")).to_have_count(3)
        page.click("tbody tr:nth-child(2) a")
        expect(page.locator(".tree .tree .tree li")).to_contain_text("shop.add succeeded")
        expect(page.locator("progress[value='3'][max='3']")).to_have_count(1)
        # The log of what went wrong, and the charts; an address that somebody has mistyped.
        page.goto(f"http://{address}/#/queue/100%")
        expect(page.locator("h1")).to_contain_text("Queue 100%")
        page.goto(f"http://{address}/#/logs")
        expect(page.locator(".log")).to_contain_text("<img src=x onerror=alert(1)>\\x07")
        page.goto(f"http://{address}/#/charts")
        expect(page.locator(".chart")).to_have_count(3)
        # A proxy that answers for the page while it is away does not end the stream.
        page.route("**/api/events", lambda route: route.fulfill(status=502), times=1)
        page.reload()
        expect(page.locator("#state")).to_have_text("away")
        expect(page.locator("#state")).to_have_text("ready")
        # A phone has room for all of it.
        page.set_viewport_size({"width": 390, "height": 800})
        for part in ("", "workers", "tasks", "failed", "charts", "logs", "queue/mail", f"task/{evil}"):
            page.goto(f"http://{address}/#/{part}")
            expect(page.locator("main h1")).to_have_count(1)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, part
        # The page says it when its fleet ends, and what to do.
        home.run("down", "--cold")
        expect(page.locator("#banner")).to_contain_text("not running")
        assert [text for text in said if "Failed to load resource" not in text] == []


def test_a_crowd_of_half_requests_and_of_open_streams_leaves_the_page_answering(home: Home) -> None:
    """It was deaf once they had taken all its descriptors, and wrote thousands of lines of it into its log."""
    home.write()
    with serving(home) as (address, _), ExitStack() as crowd:
        [pid] = [pid for pid, command in home.processes().items() if " ui " in command]
        host, port = address.split(":")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (750, 750))
        for half in (b"GET / HTTP/1.1\r\n", b"POST /api/login HTTP/1.1\r\nContent-Length: 9\r\n\r\n{") * 400:
            crowd.enter_context(socket.create_connection((host, int(port)), 20)).sendall(half)
        assert [ask(address, path)[0] for path in ("/healthz", "/metrics", "/")] == [200, 200, 200]
        crowd.close()
        pages = [http.client.HTTPConnection(address, timeout=20) for _ in range(100)]
        for page in pages:
            crowd.enter_context(closing(page)).request("GET", "/api/events")
            assert page.getresponse().status == 200
        assert ask(address, "/api/log")[:2] == (503, {"error": "too many pages are open: close some."})
        assert ask(address, "/healthz")[0] == 200
        crowd.close()
        assert eventually(lambda: _begins(address, "/api/events") == 200)


def _begins(address: str, path: str) -> int:
    """Return the status of an answer that does not end."""
    with closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def test_the_page_of_up_comes_back_when_it_dies_and_ends_with_the_fleet(home: Home) -> None:
    home.write()
    wrong = home.run("up", "--dry-run", "--ui", "web:x", check=False)
    assert (wrong.returncode, "is no address" in wrong.stderr) == (2, True), "a dry run lets no mistake pass"
    shown, token_file = r"shown on http://(\S+?)/", home.path / "own.token"
    said = home.run("up", "-d", "--wait", "--ui", "0", "--ui-token", "own.token", "web").stderr
    assert f"is in {token_file})" in said
    assert "(0.0 s)" not in said, "the time in which the page begins is time, too"
    found = re.search(shown, said)
    assert found, said
    assert ask(found[1], "/api/session")[1]["fleet"] == "shop"
    assert f"http://{found[1]}/" in home.run("up", "-d", "--ui-token", "own.token", "--ui", "0", "web").stderr, (
        "the same page goes on"
    )
    [pid] = [pid for pid, command in home.processes().items() if "--attached" in command]
    os.kill(pid, signal.SIGKILL)
    again = eventually(lambda: re.findall(shown, home.log())[1:])
    own = f"Bearer {token_file.read_text().strip()}"
    assert ask(again[0], "/api/session", Authorization=own)[1]["act"] is True
    assert ask(again[0], "/api/session", Authorization="Bearer of another fleet, as long")[1]["act"] is False
    with serving(home, "--read-only", "--root-path", "fleet/", "--allow-host", "fleet.example") as (address, token):
        bearer = f"Bearer {token}"
        assert ask(address, "/fleet/api/session", Host="fleet.example")[1]["look"] is False
        assert ask(address, "/fleet/api/topology", Host="fleet.example", Authorization=bearer)[0] == 200
        assert ask(address, "/fleet", Host="fleet.example")[2]["location"] == "/fleet/", "it is relative to the slash"
        taken_off = ask(address, "/api/topology", Host="fleet.example", Authorization=bearer)
        assert taken_off[0] == 200, "a proxy may take the prefix off"
        assert ask(address, "/fleet/api/do/pause", {"queue": "mail"}, Authorization=bearer)[0] == 403
    home.run("down")
    assert not home.processes()
