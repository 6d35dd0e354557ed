"""Tasks that harvest information."""
