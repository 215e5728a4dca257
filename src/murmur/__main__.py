"""The start of the command `murmur`, and of `python -m murmur`."""

from murmur import interruption


def main() -> None:
    """Handle signals, also during the slow imports, then run the command line."""
    interruption.handle_signals()
    from murmur.commands import cli

    cli.main()


if __name__ == "__main__":
    main()
