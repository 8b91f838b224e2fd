"""`python -m onetribe_bc` is `bc2ot`."""

from onetribe_bc.cli import main

if __name__ == "__main__":
    main()
