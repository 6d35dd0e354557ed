"""Three tiers, by what a test needs.

`unit`: nothing but this process; answers in seconds.
`services`: a broker, a database, or Celery in a process of its own.
`e2e`: the command line, as a user has it, and whole fleets.
"""

from __future__ import annotations

from pathlib import Path

#: the folder of the project
ROOT = Path(__file__).parents[1]
