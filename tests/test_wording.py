from __future__ import annotations

from nnabla_influence.wording import in_dialog, with_option


def test_an_option_is_named_by_what_its_user_sees():
    assert with_option("-t", "input-train") == "with -t"
    with in_dialog(["model", "input-train"]):
        assert with_option("-t", "input-train") == "in the field input-train"
        with in_dialog(["model"]):
            assert with_option("-t", "input-train") == "with -t of the nnabla-influence command"
        assert with_option("-p") == "with -p of the nnabla-influence command"
    assert with_option("-p") == "with -p"
