"""Neural Network Console plugin: why an evaluated row of a table is answered as it is."""

from nnabla_influence.console.explain import main

if __name__ == "__main__":
    main("Explain (tabular)", of_table=True)
