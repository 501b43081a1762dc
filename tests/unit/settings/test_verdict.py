from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from hub.settings.document import Document
from hub.settings.verdict import Verdict, judge


class Panel(BaseModel):
    kind: Literal["line"] = "line"
    every: float = 1.0


class Table(BaseModel):
    kind: Literal["table"]
    rows: int = 3


class Board(BaseModel):
    since: date | None = None
    folder: Path = Path()
    size: tuple[int, int] = (1, 1)
    panels: list[Panel | Table] = Field(default_factory=list)
    named: dict[str, Panel] = Field(default_factory=dict)
    token: SecretStr = SecretStr("")

    @field_validator("token")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() == "short-secret":
            raise ValueError("short-secret is too short")
        return value


def judged(model: type[BaseModel], text: str, **environ: str) -> Verdict[Any]:
    return judge(model, Document.parse(text, "board.yaml").expanded(environ))


def told(model: type[BaseModel], text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in judged(model, text, **environ).problems]


def test_a_plugins_model_reads_what_json_can_say() -> None:
    board = judged(Board, 'since: "2026-11-22"\nfolder: ./here\nsize: [2, 3]\n').value
    assert (board.since, board.folder, board.size) == (date(2026, 11, 22), Path("here"), (2, 3))


def test_a_key_that_the_model_would_ignore_is_a_mistake_at_any_depth() -> None:
    lines = told(Board, "nmaed: {}\nnamed: {a: {evry: 2}}\n")
    assert "Did you mean `named`?" in lines[0]
    assert "board.yaml:2:13 named.a.evry: unknown setting. Did you mean `every`?" in lines[1]


@pytest.mark.parametrize("extra", ["allow", "ignore"])
def test_a_model_that_says_what_to_do_with_unknown_keys_has_its_way(extra: Any) -> None:
    class Loose(BaseModel):
        model_config = ConfigDict(extra=extra)

    assert judged(Loose, "any: thing\n").problems == ()


def test_keys_by_alias_and_by_name_are_known() -> None:
    class Aliased(BaseModel):
        model_config = ConfigDict(populate_by_name=True)

        from_: str = Field("", alias="from")

    assert judged(Aliased, "from: a\n").value.from_ == judged(Aliased, "from_: a\n").value.from_ == "a"


def test_the_tags_of_unions_are_not_told() -> None:
    lines = told(Board, "panels:\n  - {kind: line}\n  - {kind: bars}\n")
    assert len(lines) == 1
    assert lines[0].startswith('board.yaml:3:12 panels[1].kind: found the text "bars", which is not allowed')
    assert "Allowed: line, table." in lines[0]


def test_a_validators_own_message_does_not_give_a_secret_away() -> None:
    (line,) = told(Board, "token: short-secret\n")
    assert "short-secret" not in line
    assert "a secret is too short" in line


def test_a_rule_of_the_whole_model_is_told_at_its_beginning() -> None:
    class Range(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _in_order(self) -> Range:
            if self.low > self.high:
                raise ValueError("low must not be above high")
            return self

    verdict = judged(Range, "low: 3\nhigh: 1\n")
    assert [str(problem) for problem in verdict.problems] == [
        "board.yaml:1:1: low must not be above high. (E102)"
    ]
    assert verdict.value is None


def test_validators_find_the_folder_where_paths_start() -> None:
    class Located(BaseModel):
        file: str

        @field_validator("file")
        @classmethod
        def _absolute(cls, value: str, info: ValidationInfo) -> str:
            return str(info.context["folder"] / value)

    document = Document.parse("file: a.yaml\n", "etc/hub/board.yaml")
    assert judge(Located, document).value == Located.model_construct(file="etc/hub/a.yaml")


def test_part_of_a_document_is_judged_at_its_own_places() -> None:
    document = Document.parse("plugins:\n  boards:\n    settings:\n      named: 3\n", "hub.yaml")
    verdict = judge(Board, document, ("plugins", "boards", "settings"))
    assert [str(problem.place) for problem in verdict.problems] == ["hub.yaml:4:14"]
    assert verdict.settled(("plugins", "boards", "settings", "named", "a"))
    assert not verdict.settled(("plugins", "boards", "settings", "size"))


def test_part_of_a_document_that_is_not_there_is_empty() -> None:
    class Needs(BaseModel):
        name: str

    document = Document.parse("plugins:\n  boards: {}\n", "hub.yaml")
    (problem,) = judge(Needs, document, ("plugins", "boards", "settings")).problems
    assert (str(problem.place), problem.path, problem.code) == (
        "hub.yaml:2:3",
        "plugins.boards.settings.name",
        "E104",
    )


def test_nested_values_from_outside_are_taken_as_wanted() -> None:
    board = judged(Board, "named: {a: {every: '${E}'}}\ntoken: ${T}\n", E="2.5", T="123").value
    assert (board.named["a"].every, board.token.get_secret_value()) == (2.5, "123")
