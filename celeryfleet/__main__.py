"""`python -m celeryfleet`, the same as `celeryfleet`."""

from celeryfleet.cli.entry import main

if __name__ == "__main__":
    main()
