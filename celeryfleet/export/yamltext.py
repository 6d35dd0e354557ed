"""How YAML is written here: in the order of the keys, each text of several lines as it is, nothing by an alias."""

from __future__ import annotations

from typing import Any

import yaml


class Text(str):
    """A text of several lines."""

    __slots__ = ()


def dumped(*documents: Any) -> str:
    """Write documents."""
    return str(yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


_Dumper.add_representer(Text, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"))
