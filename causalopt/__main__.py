"""``python -m causalopt`` is the command line, as launchers of several processes start it."""

from causalopt.cli.main import main

main()
