"""Neural Network Console plugin: which parts of an evaluated picture speak for a class."""

from nnabla_influence.console.attribution import main

if __name__ == "__main__":
    main("Explain by LIME", method="lime")
