"""`python -m nnabla_influence`."""

from nnabla_influence.commands.main import main

main()
