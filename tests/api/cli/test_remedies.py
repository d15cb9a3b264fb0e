"""Errors of search and ingest, with what a person at each edge can do about them."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from api.cli import remedies as cli
from api.http import remedies as http
from search.errors import DamagedError, MismatchError, Remedy, StoreError, UsageError


def test_cli_and_http_have_a_text_for_every_remedy() -> None:
    assert set(cli.REMEDIES) == set(http.REMEDIES) == set(get_args(Remedy))


def test_the_command_line_names_flags_and_http_names_none() -> None:
    error = StoreError("no Qdrant server answers", remedy="check_qdrant")
    assert cli.message_with_remedy(error).startswith("no Qdrant server answers. Check --qdrant")
    assert not [advice for advice in http.REMEDIES.values() if "--" in advice]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("encoder", "Leave --encoder .*segsearch reembed.*another --library"),
        ("crop_recipe", "Leave --crop-recipe .*segsearch reembed"),
        ("segmenter", "Leave --segmenter .*ingest --resegment"),
        ("qdrant", "Leave --qdrant .*push --switch"),
        ("collection_prefix", "Leave --collection-prefix .*or choose another --library"),
    ],
)
def test_a_setting_that_differs_is_named_by_its_flag(setting: str, says: str) -> None:
    error = MismatchError("made with others", setting=setting)
    assert re.search(says, cli.message_with_remedy(error))


def test_a_class_of_errors_can_have_one_remedy() -> None:
    assert "verify --repair" in cli.message_with_remedy(DamagedError("it is damaged"))


def test_an_error_without_a_remedy_is_its_message() -> None:
    assert cli.message_with_remedy(UsageError("limit must be positive")) == "limit must be positive"
    assert http.advice_on(UsageError("limit must be positive")) is None
