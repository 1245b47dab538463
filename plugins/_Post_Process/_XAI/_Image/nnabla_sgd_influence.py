"""Neural Network Console plugin: SGD influence of images."""

from nnabla_influence.console.sgd_influence import main

if __name__ == "__main__":
    main("SGD Influence")
