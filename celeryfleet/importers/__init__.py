"""What a team has today (compose, Kubernetes, systemd, scripts, …) → fleet.yaml. Pure: it is handed all texts."""
