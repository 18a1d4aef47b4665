"""`python -m acp`: the command line, as launchers of several processes start it."""

from acp.cli.main import main

if __name__ == "__main__":
    main()
