"""`python -m stylobate.launcher`: the same as the `stylobate` command."""

from stylobate.launcher.cli import main

main()
