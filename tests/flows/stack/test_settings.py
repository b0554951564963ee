import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.stack import settings
from tasks.domain.refusal import Refusal

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
QUESTION = """
import json, prefect.settings
s = prefect.settings.get_current_settings()
print(json.dumps([s.api.url, str(s.home), s.server.analytics_enabled, s.worker.query_seconds]))
"""


@pytest.fixture
def profiles(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_PROFILES_PATH")
    monkeypatch.setenv("PREFECT_HOME", str(root / "home"))
    (root / "home").mkdir()
    (root / "home" / "profiles.toml").write_text(PROFILES)


def named() -> str | None:
    found = settings.named_server()
    assert found is None or not found.is_ours
    return found.api_url if found else None


def test_nothing_named_means_our_own_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert named() is None
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert named() is None


def test_environment_wins_over_dotenv_over_the_projects_files_over_the_profile(
    root: Path, profiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write("http://127.0.0.1:4200/api")  # ours hides nothing
    assert named() == URL
    monkeypatch.setenv("PREFECT_PROFILE", "home")
    assert named() == OTHER
    settings.remove()
    (root / "pyproject.toml").write_text(f'[tool.prefect.api]\nurl = "{URL}"\n')
    assert named() == URL
    (root / "prefect.toml").write_text(f'[api]\nurl = "{OTHER}"\n')
    assert named() == OTHER
    (root / ".env").write_text(f"PREFECT_API_URL={URL}\n")
    assert named() == URL
    monkeypatch.setenv("PREFECT_API_URL", f"{OTHER}/")
    assert named() == OTHER


def test_profile_without_a_server_names_none(root: Path, profiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_PROFILE", "ephemeral")
    assert named() is None


def test_prefect_reads_what_we_write(root: Path) -> None:
    (root / ".stratbench").mkdir()
    settings.write("http://127.0.0.1:4711/api")
    command = (sys.executable, "-c", QUESTION)
    answer = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, check=True)
    assert json.loads(answer.stdout) == ["http://127.0.0.1:4711/api", ".stratbench/prefect", False, 1.0]


def test_only_our_own_file_is_removed_and_only_our_own_is_overwritten(root: Path) -> None:
    settings.write("http://127.0.0.1:4711/api")
    settings.write("http://127.0.0.1:4712/api")
    settings.remove()
    assert not settings.path().exists()
    settings.path().write_text("[logging]\n")
    settings.remove()
    with pytest.raises(Refusal, match="is not written by stratbench"):
        settings.write("http://127.0.0.1:4711/api")
    assert settings.path().read_text() == "[logging]\n"
