"""The live screen. history.py and pages.py are pure; screen.py shows them by Textual and knows no sockets."""
