"""What is registered in NNCD, by NNCD's rules and by what the scripts take."""

from __future__ import annotations

import re
import uuid
from dataclasses import fields
from functools import partial

import pytest

from nnabla_influence.console import advise, attribution, cleanse_dataset, explain, sgd_influence
from nnabla_influence.console.registration import DESKTOP, DESKTOP_PLUGINS, Plugin
from tests.console.nncd import (
    ADVISE,
    CLEANSE,
    EXPLAIN,
    EXPLAIN_TABLE,
    GRADCAM,
    IMAGE,
    LIME,
    LIME_TABLE,
)
from tests.small_projects import REPOSITORY

every_plugin = pytest.mark.parametrize("plugin", DESKTOP_PLUGINS, ids=lambda plugin: plugin.name)
# The characters that NNCD's server lets through, by the parameter's format.
ALLOWED = {
    "path": r"[a-zA-Z0-9_ !#$%&'()+,.\-=@\[\]^`{}~]{1,64}",
    "str": r"[a-zA-Z0-9_ !#$%&'()+,.\-=@\[\]^`{}~]{1,128}",
    "int": r"[0-9]+",
    "csv": r".+",
    "select": r"clicked",  # in place of which NNCD sends the cell
}
PARSERS = {
    CLEANSE: cleanse_dataset.build_parser,
    ADVISE: advise.build_parser,
    EXPLAIN: explain.build_parser,
    EXPLAIN_TABLE: partial(explain.build_parser, of_table=True),
    GRADCAM: partial(attribution.build_parser, method="gradcam"),
    LIME: partial(attribution.build_parser, method="lime"),
    LIME_TABLE: partial(attribution.build_parser, method="lime", of_table=True),
}


def test_what_installations_have_is_never_changed():
    """Results lie in folders of these names, and menus sort by them."""
    assert {plugin.name: plugin.id for plugin in DESKTOP_PLUGINS} == {
        "SGD Influence": "3c787d76-d03c-4270-b6e6-67f4c0be6a02",
        "SGD Influence (tabular)": "7cca8574-a017-4b0d-b811-e71ca69812c0",
        "Advise": "24956c3c-35f7-4b43-82ce-29c999535172",
        "Cleanse dataset": "5960f772-a2ab-48f7-8ea4-46afd57b4c12",
        "Explain": "ba9721fc-e8f4-4826-9c63-33eab17d183e",
        "Explain (tabular)": "ce75501d-abb6-4b7a-a39b-14fdd03ac631",
        "Explain by Grad-CAM": "e3a00b21-8f14-47ea-91e6-4c60bfddef1a",
        "Explain by LIME": "4f32fb2e-6ade-4b00-84ac-638229a06511",
        "Explain by LIME (tabular)": "e69bee24-fb4f-40c8-ac3a-0d9b9a4f4e24",
    }
    assert [field.name for field in fields(Plugin)][:4] == ["id", "name", "script", "description"]


@every_plugin
def test_a_row_is_as_nncd_wants_it(plugin: Plugin):
    assert str(uuid.UUID(plugin.id)) == plugin.id
    assert (REPOSITORY / "plugins" / plugin.script).is_file()
    assert plugin.name
    assert plugin.description
    names = [parameter.name for parameter in plugin.parameters]
    assert len(set(names)) == len(names)
    outputs = [p.name for p in plugin.parameters if p.direction == "output"]
    assert outputs == ["output"]
    # The last file among the inputs names the extension of the output; without one, HTTP 500.
    inputs = [p for p in plugin.parameters if p.direction == "input"]
    paths = [number for number, p in enumerate(inputs) if p.format == "path"]
    typed = [number for number, p in enumerate(inputs) if p.format == "csv"]
    assert paths
    assert all(number < paths[-1] for number in typed)


@every_plugin
def test_every_default_can_be_sent_as_it_is(plugin: Plugin):
    for parameter in plugin.parameters:
        assert parameter.direction in ("input", "output")
        assert parameter.description
        assert len(f"{parameter.name} - {parameter.description}") <= 60  # one line in the dialog
        # Never bool: its flag is passed for false too.
        assert re.fullmatch(ALLOWED[parameter.format], parameter.default), parameter


@every_plugin
def test_the_script_has_every_parameter(plugin: Plugin):
    build_parser = PARSERS.get(plugin, sgd_influence.build_parser)
    arguments = [word for p in plugin.parameters for word in (f"--{p.name}", p.default)]
    parsed = vars(build_parser("x").parse_args(arguments))
    for parameter in plugin.parameters:
        value = parsed[parameter.name.replace("-", "_")]
        # None stands for the words of what need not be given.
        assert parameter.default in (
            ("all", "auto") if value is None else (str(value).removesuffix(".0"),)
        )
    (mark,) = (p for p in plugin.parameters if p.name == "console")
    assert (mark.direction, mark.format, mark.default, mark.readonly) == (
        "input",
        "str",
        DESKTOP,
        True,
    )


def test_the_scores_defaults_are_those_of_the_other_console():
    parser = sgd_influence.build_parser("x")
    own = {"input-train", "input-val", "model", "validation-rows", "output", "console"}
    for parameter in IMAGE.parameters:
        if parameter.name not in own:
            default = parser.get_default(parameter.name.replace("-", "_"))
            assert str(default) == parameter.default
