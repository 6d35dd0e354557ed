"""Tasks that tell users something."""
