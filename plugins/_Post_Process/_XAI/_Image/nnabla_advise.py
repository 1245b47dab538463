"""Neural Network Console plugin: advice on the images of a training dataset."""

from nnabla_influence.console.advise import main

if __name__ == "__main__":
    main("Advise")
