"""``python -m causalopt`` runs the command line; launchers of several processes start it this way."""

from causalopt.cli.main import main

main()
