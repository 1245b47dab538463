"""Neural Network Console plugin: SGD influence of the rows of a table."""

from nnabla_influence.console.sgd_influence import main

if __name__ == "__main__":
    main("SGD Influence (tabular)")
