"""Tasks that handle data in the background."""
