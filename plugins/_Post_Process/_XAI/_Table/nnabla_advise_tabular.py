"""Neural Network Console plugin: advice on the rows of a training table."""

from nnabla_influence.console.advise import main

if __name__ == "__main__":
    main("Advise (tabular)")
