"""`python -m ensembles`: the command line."""

from ensembles.cli import main

if __name__ == "__main__":
    main()
