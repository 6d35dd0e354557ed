"""What should be done: state, events, actions, and the functions between them. Pure."""
