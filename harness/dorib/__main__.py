"""`python -m dorib`: the command line."""

from dorib.cli.app import main

main()
