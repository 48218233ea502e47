"""`python -m culnig` is the console script."""

from culnig.cli.main import main

main()
