"""Neural Network Console plugin: where the network looks in an evaluated picture."""

from nnabla_influence.console.attribution import main

if __name__ == "__main__":
    main("Explain by Grad-CAM", method="gradcam")
