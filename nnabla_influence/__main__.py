"""`python -m nnabla_influence`."""

from nnabla_influence.cli import main

main()
