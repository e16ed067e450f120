from fairlead.secrets.environment import EnvironmentSecrets


def test_the_environment_comes_before_what_is_built_in():
    secrets = EnvironmentSecrets(
        {"FAIRLEAD_WORKSPACE": "/state/workspace", "B": "b"}, {"KEY": "k", "B": "mine"}
    )
    assert secrets.get("KEY") == "k"
    assert secrets.get("FAIRLEAD_WORKSPACE") == "/state/workspace"
    assert secrets.get("B") == "mine"
    assert secrets.get("NOWHERE") is None


def test_an_empty_variable_is_as_good_as_none():
    assert EnvironmentSecrets({}, {"KEY": ""}).get("KEY") is None
    assert EnvironmentSecrets({"B": "b"}, {"B": ""}).get("B") == "b"


def test_it_reads_the_process_environment_as_it_is_now(monkeypatch):
    secrets = EnvironmentSecrets({})
    monkeypatch.setenv("FAIRLEAD_TEST_KEY", "first")
    assert secrets.get("FAIRLEAD_TEST_KEY") == "first"
    monkeypatch.delenv("FAIRLEAD_TEST_KEY")
    assert secrets.get("FAIRLEAD_TEST_KEY") is None


def test_the_representation_shows_no_value():
    assert repr(EnvironmentSecrets({"A": "hidden"}, {"B": "hidden"})) == "EnvironmentSecrets(built_in=['A'])"
