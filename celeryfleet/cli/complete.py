"""Answers a shell's question for the words that can stand next, from grammar.json and what is known of the fleet.

It speaks as Typer's own completion does, whose scripts `--install-completion` and `completion` give to the shells, but
without importing Typer, which takes half a second.
"""

from __future__ import annotations

import json
import os
import re
import sys

from celeryfleet.errors import FleetError

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    #: a word, and what it means
    Offer = tuple[str, str]

#: a word that every shell takes as it is; no other is offered
_PLAIN = re.compile(r"[\w.:@%+,/=-]+")


def answer(shell: str, find: Callable[[str], str]) -> bool:
    """Print what can stand next; False: this shell is not known here. `find` finds the fleet.yaml that -f names."""
    if shell not in ("bash", "zsh", "fish"):
        return False
    words = _bash_words() if shell == "bash" else _words(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    found = offers(words[1:-1], words[-1], find)
    if shell == "fish" and os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(0 if found else 1)
    text = "\n".join(_SHELLS[shell](*offer) for offer in found)
    if shell == "zsh":
        text = f"_arguments '*: :(({text}))'" if text else "_files"
    elif shell == "bash":  # it puts what is offered in the place of what stands after the last = or :
        given = re.match(r".*[=:]", words[-1])
        text = "\n".join(word.removeprefix(given[0] if given else "") for word, _ in found)
    print(text)  # noqa: T201 - for the shell, not for a terminal
    return True


def _escaped(text: str) -> str:
    return re.sub(r"['\"$`\\]", "", text).replace(":", "\\\\:")


_SHELLS: dict[str, Callable[[str, str], str]] = {
    "bash": lambda word, meaning: word,
    "fish": lambda word, meaning: f"{word}\t{meaning}",
    "zsh": lambda word, meaning: f'"{_escaped(word)}":"{_escaped(meaning)}"' if meaning else f'"{_escaped(word)}"',
}


def _bash_words() -> list[str]:
    """Return the words up to the cursor; bash takes them apart at = and :."""
    parts = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
    words: list[str] = []
    for part in parts:
        if words and (part[:1] in (":", "=") or words[-1][-1:] in (":", "=")):
            words[-1] += part
        else:
            words.append(part)
    return words


def _words(line: str) -> list[str]:
    """Split what was typed; the last word may be open, or not begun."""
    words = [re.sub(r"[\"'\\]", "", word) for word in line.split()]
    return [*words, ""] if line[-1:].isspace() else words


# --- What can stand there ---------------------------------------------------------------------------------


def offers(words: list[str], begun: str, find: Callable[[str], str]) -> list[Offer]:
    """Return what can stand after these words, and begins with what is begun."""
    with open(f"{os.path.dirname(__file__)}/grammar.json", encoding="utf-8") as file:
        node = json.load(file)
    codes, place, option, named = node["codes"], 0, "", ""
    file_named = ""
    for word in words:
        if option:
            file_named = word if option in ("-f", "--file") else file_named
            option = ""
        elif word.startswith("-"):
            option = word if _takes(node, word) else ""
        elif word in node.get("commands", {}):
            node, place = node["commands"][word], 0
        else:
            place, named = place + 1, f"{named} {word} "
    head, equals, rest = begun.partition("=")
    if not option and equals and _takes(node, head):
        return [(f"{head}={word}", what) for word, what in offers([*words, head], rest, find)]
    if option:
        kind = _takes(node, option)
    elif begun.startswith("-"):
        return _beginning(begun, ((name, what) for name, (_, what) in node["options"].items()))
    elif node.get("commands") and not place:
        return _beginning(begun, ((name, below["help"]) for name, below in node["commands"].items()))
    else:
        kind = _argument(node["arguments"], place)
    found = _of_kind(kind, begun, find(file_named), codes)
    return [offer for offer in found if f" {offer[0].partition('=')[0]} " not in named.replace("=", " = ")]


def _takes(node: Any, option: str) -> str:
    """Return what an option takes; empty: nothing."""
    return str(node["options"].get(option, ("", ""))[0])


def _argument(arguments: list[str], place: int) -> str:
    """Return what stands at a place; the last argument may be there for all that follow."""
    last = arguments[-1] if arguments else ""
    kind = arguments[place] if place < len(arguments) else last if last.endswith("…") else ""
    return kind.removesuffix("…")


def _beginning(begun: str, offered: Iterable[Offer]) -> list[Offer]:
    return [(word, what) for word, what in offered if word.startswith(begun) and _PLAIN.fullmatch(word)]


def _of_kind(kind: str, begun: str, file: str, codes: dict[str, str]) -> list[Offer]:
    """Return the words of a kind, as the help names it: POOL, TASK|QUEUE, and in small letters the words themselves."""
    from celeryfleet.cli.words import known

    found: list[Offer] = []
    try:
        fleet = known(file) if file and re.search("[A-Z]", kind) else {}
    except FleetError:  # another command says whose file it is; whoever presses Tab can be told nothing
        fleet = {}
    pools, tasks = fleet.get("pools", {}), fleet.get("tasks", {})
    for name in kind.split("|"):
        match name:
            case "POOL":
                found += [(pool, "pool") for pool in pools]
            case "POOL=N":
                found += [(f"{pool}={count}", "pool") for pool, count in pools.items()]
            case "WORKER":
                found += [(f"{pool}-{n}", "worker") for pool, count in pools.items() for n in range(1, count + 1)]
            case "QUEUE" | "Q" | "FROM" | "TO":
                found += [(queue, "queue") for queue in fleet.get("queues", ())]
            case "CANVAS":
                found += [(canvas, "canvas") for canvas in fleet.get("canvases", ())]
            case "TASK":
                short = [*((alias, "alias") for alias in fleet.get("aliases", ())), *((s, t) for t, s in tasks.items())]
                found += _beginning(begun, short) or [(task, "task") for task in tasks]
            case "GLOB":
                found += [(task, "task") for task in tasks]
            case "CODE":
                found += codes.items()
            case _ if name.islower():
                found.append((name, ""))
    return _beginning(begun, dict(found).items())
