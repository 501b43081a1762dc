from pydantic import BaseModel, SecretStr


class Inner(BaseModel):
    x: int = 0


class Options(BaseModel):
    size: int = 1
    color: str = "blue"
    token: SecretStr = SecretStr("")
    inner: Inner = Inner()
