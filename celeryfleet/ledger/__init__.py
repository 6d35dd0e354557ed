"""What became of each task: told by the workers, written by the supervisor, read by whoever asks."""
