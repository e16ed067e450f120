from fairlead.secrets.environment import EnvironmentSecrets
from fairlead.secrets.sources import Secrets


class Fixed:
    def __init__(self, what: str) -> None:
        self.what = what

    def get(self, name: str) -> str | None:
        return f"{self.what} {name}"


def test_the_prefix_tells_where_a_secret_comes_from():
    secrets = Secrets(EnvironmentSecrets({}, {"A": "a"}), files=Fixed("file"), vault=Fixed("vault"))
    assert secrets.get("A") == "a"
    assert secrets.get("B") is None
    assert secrets.get("file:/run/x") == "file /run/x"
    assert secrets.get("secret:A") == "vault A"
