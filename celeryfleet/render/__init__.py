"""What the terminal shows: tables, the drawn topology, progress. A leaf: nothing depends on it but the command line."""
