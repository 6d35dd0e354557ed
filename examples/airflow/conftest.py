"""The variables of env.sh, for tests: Airflow reads them when it is imported."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
VARIABLES = {
    "AIRFLOW_HOME": str(HERE),
    "AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": "fleet_settings.CELERY_CONFIG",
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE / "config"), os.environ.get("PYTHONPATH")])),
}
os.environ.update(VARIABLES)
sys.path.insert(0, str(HERE / "config"))
