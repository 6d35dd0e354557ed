"""`status --watch` on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios

from tests.e2e.conftest import FLEET, Home
from tests.fakes import ending


def watched(home: Home, lines: int, columns: int) -> tuple[list[list[str]], bytes, int]:
    """Watch for two pictures, interrupt, and return the pictures, all that was written, and the exit code."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    argv = [sys.executable, "-m", "celeryfleet", "status", "--watch"]
    env = {**home.env, "TERM": "xterm"}
    with ending(subprocess.Popen(argv, cwd=home.path, env=env, stdout=slave, stderr=slave)) as process:
        os.close(slave)
        shown = b""
        while shown.count(b"\x1b[J") < 2:
            assert select.select([master], [], [], 60)[0], shown
            shown += os.read(master, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # how Linux says that the other side has closed
            while part := os.read(master, 65536):
                shown += part
        code = process.wait(60)
    os.close(master)
    pictures = re.findall(r"\x1b\[H(.*?)\x1b\[J", shown.decode(), re.DOTALL)
    return [re.sub(r"\x1b\[[\d;]*[mK]", "", one).splitlines() for one in pictures], shown, code


def test_a_small_terminal_is_never_overrun_and_is_left_as_it_was(home: Home) -> None:
    home.write(FLEET.replace("mail: {queues: [mail],", "mail: {queues: [mail], replicas: 3,")).up()
    for height in (24, 12, 6):
        pictures, shown, code = watched(home, height, 80)
        assert code == 0
        assert [len(picture) for picture in pictures if len(picture) >= height] == [], (height, shown)
        assert shown.rstrip(b"\r\n").endswith(b"\x1b[?25h\x1b[?1049l"), "the cursor and the screen before are back"
    assert "mail  3/3" in "\n".join(watched(home, 12, 80)[0][0])
