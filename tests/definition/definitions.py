"""Small definition files: saved from nnabla's Python, or as the Console writes them."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import nnabla as nn
import nnabla.solvers as S
import numpy as np
from google.protobuf import json_format, text_format
from nnabla.core.graph_def import ProtoGraph
from nnabla.ext_utils import get_extension_context
from nnabla.utils import nnabla_pb2
from nnabla.utils.save import create_proto

from nnabla_influence.definition import build_objective, load_definition

CPU = get_extension_context("cpu")
BATCH = 5  # unlike any other size in the tests, since nnabla.utils.save looks for it
LOSS = {"name": "Loss", "type": "SquaredError", "output": ["Loss"]}


def python_proto(
    build,
    inputs=None,
    columns=None,
    solver=None,
    trained=None,
    validation=None,
    variable_batch_size=True,
    **optimizer,
):
    """Save what ``build`` makes of named input variables, as a user's script would.

    Args:
        build: From variables by name to the loss, or to losses by name.
        inputs: Shapes, without the batch axis, by network variable.
        columns: Dataset columns by network variable.
        trained: Which parameters the solver gets; all with need_grad by default.
        validation: As ``build``, for a network MainValidation.

    Returns:
        The proto, and its parameters as arrays.
    """
    inputs = inputs or {"x": (3,), "t": (1,)}
    columns = columns or {"x": "x", "t": "y"}
    solver = solver or S.Sgd(0.1)
    scope: dict = {}
    with nn.context_scope(CPU), nn.parameter_scope("", scope):
        networks = []
        for name, make in (("Main", build), ("MainValidation", validation)):
            if make is not None:
                variables = {v: nn.Variable((BATCH, *shape)) for v, shape in inputs.items()}
                losses = make(variables)
                losses = losses if isinstance(losses, dict) else {"loss": losses}
                networks.append(
                    {
                        "name": name,
                        "batch_size": BATCH,
                        "outputs": losses,
                        "names": {**variables, **losses},
                    }
                )
        parameters = nn.get_parameters(grad_only=False)
        solver.set_parameters(
            {
                name: v
                for name, v in parameters.items()
                if (v.need_grad if trained is None else name in trained)
            }
        )
        dataset = {
            "uri": "train.csv",
            "cache_dir": "",
            "variables": list(columns.values()),
            "shuffle": True,
            "batch_size": BATCH,
            "no_image_normalization": False,
        }
        settings = {
            "name": "Optimizer",
            "solver": solver,
            "network": "Main",
            "dataset": "Training",
            "weight_decay": 0.0,
            "lr_decay": 1.0,
            "lr_decay_interval": 1,
            "update_interval": 1,
            "data_variables": columns,
            "loss_variables": list(networks[0]["outputs"]),
            **optimizer,
        }
        contents = {
            "training_config": {"max_epoch": 2, "iter_per_epoch": 2, "save_best": True},
            "networks": networks,
            "datasets": [
                {**dataset, "name": "Training"},
                {**dataset, "name": "Validation", "uri": "valid.csv", "shuffle": False},
            ],
            "optimizers": [settings],
        }
        proto = create_proto(contents, variable_batch_size=variable_batch_size)
        return proto, {name: v.d.copy() for name, v in parameters.items()}


def console_proto(functions, variables, parameters, loops=None, **optimizer):
    """Write a definition as the Console does, which Python cannot: with loops.

    Args:
        functions: Dicts of a proto ``Function``; name and output are the type by default.
        variables: ``name: shape`` or ``name: (shape, repeat_id)``; the batch axis is -1.
        parameters: The same, for parameters.
        loops: How often each loop runs, by repeat_id.
    """
    kinds = [("Buffer", variables), ("Parameter", parameters)]
    functions = [{"name": f["type"], "output": [f["type"]], **f} for f in functions]
    proto = nnabla_pb2.NNablaProtoBuf()
    network = {
        "name": "Main",
        "batch_size": BATCH,
        "variable": [
            _variable(kind, name, shape) for kind, named in kinds for name, shape in named.items()
        ],
        "function": functions,
        "repeat_info": [{"id": name, "times": times} for name, times in (loops or {}).items()],
    }
    settings = {
        "name": "Optimizer",
        "network_name": "Main",
        "dataset_name": ["Training"],
        "update_interval": 1,
        "solver": {"type": "Sgd", "sgd_param": {"lr": 0.1}},
        "data_variable": [
            {"variable_name": "Input", "data_name": "x"},
            {"variable_name": "T", "data_name": "y"},
        ],
        "loss_variable": [{"variable_name": "Loss"}],
        "parameter_variable": [
            {"variable_name": name, "learning_rate_multiplier": 1} for name in parameters
        ],
        **optimizer,
    }
    json_format.ParseDict(
        {
            "training_config": {"max_epoch": 1, "iter_per_epoch": 1},
            "network": [network],
            "dataset": [{"name": "Training", "uri": "train.csv", "batch_size": BATCH}],
            "optimizer": [settings],
        },
        proto,
    )
    return proto


def looped(layers, parameters, times=2):
    """The Console's repetition, of three numbers: h <- the layers of h; a squared error at the end.

    Args:
        layers: Dicts of a proto ``Function``, with their further inputs.
        parameters: As for `console_proto`.
        times: How often the loop runs.
    """
    repeat = {"repeat_param": {"repeat_id": "Loop", "times": times}}
    functions = [{"type": "RepeatStart", "input": ["Input", layers[-1]["type"]], **repeat}]
    for layer in layers:
        functions.append({**layer, "input": [functions[-1]["type"], *layer.get("input", ())]})
    within = {function["type"]: ((-1, 3), "Loop") for function in functions}
    functions = [{**function, "repeat_id": ["Loop"]} for function in functions]
    functions += [
        {"type": "RepeatEnd", "input": [layers[-1]["type"]], **repeat},
        {**LOSS, "input": ["RepeatEnd", "T"]},
    ]
    variables = {**dict.fromkeys(("Input", "T", "RepeatEnd", "Loss"), (-1, 3)), **within}
    return console_proto(functions, variables, parameters, {"Loop": times})


def elman():
    """The Console's simple recurrent network: h_i = tanh([x_i, h_(i-1)] W + b), h_(-1) = 0.25."""
    loop = {"repeat_id": ["Words"]}
    within = {"recurrent_param": {"repeat_id": "Words"}}
    at_axis_1 = {"repeat_id": "Words", "axis": 1}
    at_axis_1_of_4 = {**at_axis_1, "length": 4}
    return console_proto(
        [
            {"type": "RecurrentInput", "input": ["Input"], "recurrent_param": at_axis_1, **loop},
            {"type": "Delay", "input": ["Tanh", "Delay_Initial"], **within, **loop},
            {
                "type": "Concatenate",
                "input": ["RecurrentInput", "Delay"],
                "concatenate_param": {"axis": 1},
                **loop,
            },
            {
                "type": "Affine",
                "input": ["Concatenate", "W", "b"],
                "affine_param": {"base_axis": 1},
                **loop,
            },
            {"type": "Tanh", "input": ["Affine"], **loop},
            {"type": "RecurrentOutput", "input": ["Tanh"], "recurrent_param": at_axis_1_of_4},
            {**LOSS, "input": ["RecurrentOutput", "T"]},
        ],
        {
            "Input": (-1, 4, 3),
            "RecurrentInput": ((-1, 3), "Words"),
            "Delay_Initial": (-1, 2),
            "Concatenate": ((-1, 5), "Words"),
            **dict.fromkeys(("Delay", "Affine", "Tanh"), ((-1, 2), "Words")),
            **dict.fromkeys(("T", "RecurrentOutput", "Loss"), (-1, 4, 2)),
        },
        {"W": (5, 2), "b": (2,)},
        {"Words": 4},
        generator_variable=[
            {"variable_name": "Delay_Initial", "type": "Constant", "multiplier": 0.25}
        ],
    )


def repeated(times, name="W{Loop}"):
    """The Console's repetition: h <- tanh(h W_i), i from 0, over weights of their own."""
    affine = {"type": "Affine", "input": [name], "affine_param": {"base_axis": 1}}
    return looped([affine, {"type": "Tanh"}], {name: ((3, 3), "Loop")}, times)


def synchronise(proto):
    """Make batch normalisations synchronised ones, which nnabla itself cannot load."""
    for function in proto.network[0].function:
        if function.type == "BatchNormalization":
            old = type(function.batch_normalization_param)()
            old.CopyFrom(function.batch_normalization_param)
            function.type = "SyncBatchNormalization"
            new = function.sync_batch_normalization_param
            new.axes.extend(old.axes)
            new.decay_rate, new.eps, new.batch_stat = old.decay_rate, old.eps, old.batch_stat


def _variable(kind, name, shape):
    repeat = []
    if isinstance(shape[0], tuple):
        shape, repeat = shape[0], [shape[1]]
    return {"name": name, "type": kind, "shape": {"dim": list(shape)}, "repeat_id": repeat}


def write_text(path, proto):
    path.write_text(text_format.MessageToString(proto), encoding="utf-8")
    return path


def h5_bytes(parameters, extension=".h5"):
    """A parameter file in one of nnabla's own forms."""
    file = io.BytesIO()
    variables = {name: nn.Variable.from_numpy_array(v) for name, v in parameters.items()}
    nn.save_parameters(file, variables, extension=extension)
    return file.getvalue()


def protobuf_bytes(parameters):
    return h5_bytes(parameters, ".protobuf")


def write_nnp(path, proto, parameters, text_name="net.nntxt", parameter_name="parameter.h5"):
    encode = h5_bytes if parameter_name.endswith(".h5") else protobuf_bytes
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.writestr(text_name, text_format.MessageToString(proto))
        if parameters is not None:
            archive.writestr(parameter_name, encode(parameters))
    return path


def load(tmp_path: Path, proto, parameters=None):
    return load_definition(write_nnp(tmp_path / "net.nnp", proto, parameters))


def build(tmp_path: Path, proto, parameters, batch_size=BATCH):
    return build_objective(load(tmp_path, proto, parameters), batch_size, CPU)


def random_parameters(definition, seed=0):
    """Plausible values for every parameter of the network, under the unrolled names."""
    from nnabla_influence.definition.objective import prepare

    rng = np.random.RandomState(seed)
    values = {}
    for name, variable in prepare(definition).network.parameters.items():
        value = rng.randn(*variable.shape) * 0.5
        values[name] = (1 + np.abs(value) if name.endswith("var") else value).astype(np.float32)
    return values


class Native:
    """A network as the file has it, built by nnabla itself.

    Attributes:
        inputs: Variables to fill, by the names of the network.
        loss: Of shape ``(batch_size, ...)``.
        parameters: Every parameter, by name.
    """

    def __init__(self, definition, values, batch_size, network="Main", loss="loss"):
        scope: dict = {}
        proto = type(definition.proto)()
        proto.network.extend(n for n in definition.proto.network if n.name == network)
        with nn.context_scope(CPU), nn.parameter_scope("", scope):
            for name, value in values.items():
                nn.parameter.set_parameter(name, nn.Variable.from_numpy_array(value))
            graph = ProtoGraph.from_proto(proto, param_scope=scope)
            built = graph[network].expand_loop_control()
            shapes = {i.variable: i.shape for i in definition.inputs}
            self.inputs = {n: nn.Variable((batch_size, *shape)) for n, shape in shapes.items()}
            for name, variable in self.inputs.items():
                built.variables[name].variable_instance = variable
            built(batch_size=batch_size)
            self.loss = built.variables[loss].variable_instance
            self.parameters = nn.get_parameters(grad_only=False)

    def losses(self, **values):
        """Per-example losses at given inputs, by the names of the network."""
        for name, value in values.items():
            self.inputs[name].d = value
        self.loss.forward()
        return self.loss.d.reshape(len(self.loss.d), -1).mean(axis=1)


def train_by_nnabla_cli(path):
    """Train a definition with its own parameters as a start; return the folder of its results."""
    folder = path.parent / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "nnabla.utils.cli.cli", "train", "-c", path, "-p", path]
    subprocess.run(
        [*command, "-o", "out"], cwd=path.parent, check=True, capture_output=True, timeout=120
    )
    return folder


def losses(objective, **inputs):
    """Per-example losses at given inputs, by column."""
    for column, value in inputs.items():
        objective.inputs[column].d = value
    objective.losses.forward()
    return np.array(objective.losses.d)
