"""Neural Network Console plugin: which features of an evaluated row speak for a class."""

from nnabla_influence.console.attribution import main

if __name__ == "__main__":
    main("Explain by LIME (tabular)", method="lime", of_table=True)
