"""Settings that are files: a plugin's model names one by its path, and has what stands in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hub.errors import HubError

FileReader: TypeAlias = Callable[[str, type[BaseModel]], BaseModel]


class FaultyFile(HubError):
    """A file named by a setting has mistakes, each of which is reported at its own line."""

    KIND: Final = "faulty_file"


@dataclass(frozen=True, slots=True)
class FromFile:
    """Makes a setting the path of a YAML file, and its value what the file says.

    For the settings model of a plugin::

        menu: Annotated[Menu, FromFile()] | None = None

    where Menu is a pydantic model. The operator writes `menu: menu.yaml`; a relative path starts at the folder of
    hub.yaml. The file is read as strictly as hub.yaml, and every mistake in it is reported by `hub check` with its line
    and column. In code and tests, an instance of the model may be given as it is.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads the file before the model sees it."""

        def read(given: Any, info: ValidationInfo) -> Any:
            if isinstance(given, source):
                return given
            reader: FileReader | None = (info.context or {}).get("read_file")
            if not isinstance(given, str):
                raise PydanticCustomError("string_type", "a file must be named")
            if reader is None:
                raise ValueError("files can be read only from the settings in hub.yaml")
            try:
                return reader(given, source)
            except FaultyFile as error:
                raise PydanticCustomError(FaultyFile.KIND, "the file has mistakes of its own") from error

        return core_schema.with_info_before_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """What an editor may write there: text."""
        return {"type": "string"}
