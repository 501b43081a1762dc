from pydantic import BaseModel


class Options(BaseModel):
    name: str
