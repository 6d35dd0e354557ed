"""The command line: where the parts meet. Everything else is imported only by the command that needs it."""
