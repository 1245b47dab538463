"""Neural Network Console plugin: why an evaluated picture is answered as it is."""

from nnabla_influence.console.explain import main

if __name__ == "__main__":
    main("Explain")
