"""Write network definitions in the form that Neural Network Console gives them.

A definition names three networks (``Main`` for training, ``MainValidation`` for testing and
``MainRuntime`` for use), an optimizer, the datasets ``Training`` and ``Validation``, the monitors
``train_error`` and ``valid_error`` and an executor. `nnabla_cli train` trains it as it is::

    write_definition("net.nntxt", mlp((30,), 2), Training(n_rows=400))

This module assembles the file; `networks` has the networks, `settings` those of a training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf import text_format
from nnabla.utils import nnabla_pb2

from network_defs.samples.settings import RATE_IS_ALPHA, SOLVER_DEFAULTS, Training
from network_defs.samples.sheet import CATEGORY_LOSSES, Layer, Sheet
from nnabla_influence.files import replacing_file


@dataclass(frozen=True)
class Network:
    """A network without its loss: what it reads, and which layers it has.

    Attributes:
        input_shape: Shape of one example of the dataset's ``x``, such as (1, 28, 28).
        body: Draws everything between the input and the last activation, on a sheet.
        loss: The Console's name: ``SoftmaxCrossEntropy`` or ``CategoricalCrossEntropy`` (``y`` is
            the number of a class), ``BinaryCrossEntropy`` or ``SquaredError`` (``y`` has the
            shape of the output).
    """

    input_shape: tuple[int, ...]
    body: Callable[[Sheet, Layer], Layer]
    loss: str = "SoftmaxCrossEntropy"


def write_definition(path: str | os.PathLike[str], network: Network, training: Training) -> None:
    """Write a definition as an .nntxt file, whole or not at all.

    Args:
        path: The file to write; its folder must exist.
        network: What to train.
        training: How, and on which data.

    Raises:
        OutputError: The file cannot be written.
    """
    text = text_format.MessageToString(definition(network, training))
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def definition(network: Network, training: Training) -> nnabla_pb2.NNablaProtoBuf:
    """Return a definition in nnabla's file format (arguments as in `write_definition`)."""
    proto = nnabla_pb2.NNablaProtoBuf(version="0.1.0")
    # The CPU is always there; `nnabla_cli train -C cudnn` overrides it.
    proto.global_config.default_context.backends[:] = ["cpu:float"]
    proto.global_config.default_context.array_class = "CpuCachedArray"
    proto.global_config.default_context.device_id = "0"
    proto.training_config.max_epoch = training.epochs
    proto.training_config.iter_per_epoch = training.n_rows // training.batch_size
    proto.training_config.save_best = True
    proto.training_config.monitor_interval = 10

    pages = [
        _draw(network, name, training.batch_size)
        for name in ("Main", "MainValidation", "MainRuntime")
    ]
    main, validation, runtime = pages
    proto.network.extend(page.sheet.network for page in pages)

    for name, uri, shuffle in (
        ("Training", training.training_csv, training.shuffle),
        ("Validation", training.validation_csv, False),
    ):
        proto.dataset.add(
            name=name,
            uri=uri,
            batch_size=training.batch_size,
            variable=["x", "y"],
            shuffle=shuffle,
            no_image_normalization=not training.normalize,
        )
    _add_optimizer(proto, main, training)
    for name, dataset in (("train_error", "Training"), ("valid_error", "Validation")):
        monitor = proto.monitor.add(
            name=name, network_name="MainValidation", dataset_name=[dataset]
        )
        _add_data_variables(monitor, validation)
        monitor.monitor_variable.add(
            variable_name=validation.output.name, type="Error", multiplier=1.0
        )
    _add_executor(proto, runtime, training)
    return proto


@dataclass(frozen=True)
class _Page:
    sheet: Sheet
    inputs: Mapping[str, str]  # network variable -> dataset variable
    output: Layer


def _draw(network: Network, name: str, batch_size: int) -> _Page:
    """Draw one of the three networks; MainRuntime ends before the loss."""
    sheet = Sheet(name, batch_size, test=name != "Main")
    x = sheet.input(network.input_shape)
    output = network.body(sheet, x)
    loss = network.loss
    if loss == "CategoricalCrossEntropy" or (
        loss == "SoftmaxCrossEntropy" and name == "MainRuntime"
    ):
        output = sheet.softmax(output)
    elif loss == "BinaryCrossEntropy":
        output = sheet.sigmoid(output)
    if name == "MainRuntime":
        return _Page(sheet, {x.name: "x"}, output)
    label = sheet.input((1,) if loss in CATEGORY_LOSSES else output.shape, f"{loss}_T")
    return _Page(sheet, {x.name: "x", label.name: "y"}, sheet.loss(loss, output, label))


def _add_optimizer(proto: nnabla_pb2.NNablaProtoBuf, main: _Page, training: Training) -> None:
    optimizer = proto.optimizer.add(
        name="Optimizer",
        network_name="Main",
        dataset_name=["Training"],
        update_interval=training.update_interval,
    )
    _add_data_variables(optimizer, main)
    optimizer.loss_variable.add(variable_name=main.output.name)
    for names, multiplier in ((main.sheet.trainable, 1.0), (main.sheet.buffers, 0.0)):
        for name in names:
            optimizer.parameter_variable.add(
                variable_name=name, learning_rate_multiplier=multiplier
            )

    solver = optimizer.solver
    solver.type = training.solver
    solver.weight_decay = training.weight_decay
    parameters = getattr(solver, f"{training.solver.lower()}_param")
    rate = "alpha" if training.solver in RATE_IS_ALPHA else "lr"
    setattr(parameters, rate, training.learning_rate)
    others = {**SOLVER_DEFAULTS[training.solver], **training.hyperparameters}
    for name, value in others.items():
        setattr(parameters, name, value)

    scheduler = training.scheduler
    if scheduler.type:
        solver.lr_scheduler_type = scheduler.type
        settings = getattr(solver, f"{scheduler.type.lower()}_scheduler_param")
        for name, setting in scheduler.settings.items():
            if isinstance(setting, list):
                getattr(settings, name).extend(setting)
            else:
                setattr(settings, name, setting)
    if scheduler.warmup:
        solver.lr_warmup_scheduler_type = "Linear"
        solver.linear_warmup_scheduler_param.warmup_iter = scheduler.warmup


def _add_executor(proto: nnabla_pb2.NNablaProtoBuf, runtime: _Page, training: Training) -> None:
    executor = proto.executor.add(
        name="Executor",
        network_name="MainRuntime",
        num_evaluations=1,
        repeat_evaluation_type="mean",
        no_image_normalization=not training.normalize,
    )
    _add_data_variables(executor, runtime)
    executor.output_variable.add(variable_name=runtime.output.name, data_name="y'")
    for name in runtime.sheet.trainable + runtime.sheet.buffers:
        executor.parameter_variable.add(variable_name=name)


def _add_data_variables(
    section: nnabla_pb2.Optimizer | nnabla_pb2.Monitor | nnabla_pb2.Executor, page: _Page
) -> None:
    for variable, column in page.inputs.items():
        section.data_variable.add(variable_name=variable, data_name=column)
