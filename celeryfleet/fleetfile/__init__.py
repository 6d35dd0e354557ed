"""What the user declared: fleet.yaml → Fleet; pure, but for `load.find` and `load.read`."""
