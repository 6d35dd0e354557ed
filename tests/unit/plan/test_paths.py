"""Where a fleet keeps its state."""

from __future__ import annotations

from celeryfleet.plan.facts import SOCKET_LIMIT, Paths, paths


def test_everything_lies_beside_fleet_yaml() -> None:
    assert paths("/srv/shop", "shop", 1000, "/tmp") == Paths(
        state_dir="/srv/shop/.celeryfleet/shop",
        control="/srv/shop/.celeryfleet/shop/control.sock",
        broker="/srv/shop/.celeryfleet/shop/broker.sock",
        sockets="/srv/shop/.celeryfleet/shop",
    )


def test_sockets_with_too_long_a_path_move_to_a_short_folder_of_the_users_own() -> None:
    found = paths(f"/srv/{'x' * 100}", "shop", 1000, "/tmp")
    assert found.state_dir == f"/srv/{'x' * 100}/.celeryfleet/shop"
    assert found.sockets == "/tmp/celeryfleet-1000/1d20992e9fcf093b"
    assert found.control == f"{found.sockets}/control.sock"
    assert found.broker == f"{found.sockets}/broker.sock"


def test_the_limit_counts_bytes_not_letters() -> None:
    fits = "/" + "x" * (SOCKET_LIMIT - len("/.celeryfleet/s/control.sock") - 1)
    assert paths(fits, "s", 1, "/tmp").sockets.startswith("/xx")
    assert paths(fits[:-1] + "é", "s", 1, "/tmp").sockets.startswith("/tmp/celeryfleet-1/")


def test_fleets_with_long_paths_never_share_a_folder() -> None:
    folder = "/srv/" + "x" * 100
    assert paths(folder, "one", 1, "/tmp").sockets != paths(folder, "two", 1, "/tmp").sockets
