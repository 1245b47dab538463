"""Neural Network Console plugin: a dataset of images without the rows that were found harmful."""

from nnabla_influence.console.cleanse_dataset import main

if __name__ == "__main__":
    main("Cleanse dataset")
