from pathlib import Path

import pytest

from flows.stack import settings_file
from flows.stack.choice import NamedServer, named_server
from flows.stack.error import StackError

URL = "http://prefect.example:4200/api"
OTHER = "http://other.example:4200/api"
PROFILES = """
active = "work"
[profiles.work]
PREFECT_API_URL = "http://prefect.example:4200/api"
[profiles.home]
PREFECT_API_URL = "http://other.example:4200/api"
[profiles.ephemeral]
PREFECT_SERVER_EPHEMERAL_ENABLED = "true"
"""


@pytest.fixture
def profiles(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "profiles.toml").write_text(PROFILES)
    return {"PREFECT_HOME": str(home)}


def url(found: NamedServer | None) -> str | None:
    return found.api_url if found else None


def no_profiles(tmp_path: Path) -> dict[str, str]:
    return {"PREFECT_HOME": str(tmp_path / "none")}


def test_nothing_named_means_our_own_server(tmp_path: Path) -> None:
    assert named_server(tmp_path, no_profiles(tmp_path)) is None


def test_environment_wins_over_everything(tmp_path: Path, profiles: dict[str, str]) -> None:
    (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{OTHER}"\n')
    found = named_server(tmp_path, {**profiles, "PREFECT_API_URL": URL + "/"})
    assert found == NamedServer(api_url=URL, named_by="PREFECT_API_URL in the environment")


def test_empty_variable_names_nothing(tmp_path: Path) -> None:
    assert named_server(tmp_path, {**no_profiles(tmp_path), "PREFECT_API_URL": ""}) is None


def test_dotenv_wins_over_the_projects_files(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PREFECT_API_URL={URL}\n")
    (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{OTHER}"\n')
    assert url(named_server(tmp_path, no_profiles(tmp_path))) == URL


def test_prefect_toml_of_the_users_wins_over_pyproject_and_profile(tmp_path: Path, profiles: dict[str, str]) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.prefect.api]\nurl = "{URL}"\n')
    assert url(named_server(tmp_path, profiles)) == URL
    (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{OTHER}"\n')
    assert url(named_server(tmp_path, profiles)) == OTHER


def test_our_prefect_toml_does_not_hide_the_profile(root: Path, profiles: dict[str, str]) -> None:
    settings_file.write("http://127.0.0.1:4200/api")
    assert url(named_server(root, profiles)) == URL


def test_active_profile_is_the_one_that_the_environment_says(tmp_path: Path, profiles: dict[str, str]) -> None:
    assert url(named_server(tmp_path, {**profiles, "PREFECT_PROFILE": "home"})) == OTHER
    assert named_server(tmp_path, {**profiles, "PREFECT_PROFILE": "ephemeral"}) is None


def test_profiles_path_wins_over_home(tmp_path: Path, profiles: dict[str, str]) -> None:
    elsewhere = tmp_path / "profiles.toml"
    elsewhere.write_text(PROFILES.replace('active = "work"', 'active = "home"'))
    assert url(named_server(tmp_path, {**profiles, "PREFECT_PROFILES_PATH": str(elsewhere)})) == OTHER


def test_broken_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text("url = nothing")
    with pytest.raises(StackError, match=r"prefect\.toml cannot be read"):
        named_server(tmp_path, no_profiles(tmp_path))


def test_unknown_profile_is_refused_by_name(tmp_path: Path, profiles: dict[str, str]) -> None:
    with pytest.raises(StackError, match="PREFECT_PROFILE='nosuch' is not known; use one of cloud, ephemeral, home"):
        named_server(tmp_path, {**profiles, "PREFECT_PROFILE": "nosuch"})
