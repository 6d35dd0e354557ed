"""Where a message goes: decided once, asked by all. Pure."""
