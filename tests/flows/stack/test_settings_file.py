import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.stack import settings_file
from flows.stack.error import StackError

QUESTION = """
import json, prefect.settings
s = prefect.settings.get_current_settings()
print(json.dumps([s.api.url, str(s.home), s.server.analytics_enabled, s.worker.query_seconds]))
"""


def test_prefect_reads_what_we_write(root: Path) -> None:
    (root / ".stratbench").mkdir()
    settings_file.write("http://127.0.0.1:4711/api")
    command = (sys.executable, "-c", QUESTION)
    answer = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, check=True)
    assert json.loads(answer.stdout) == ["http://127.0.0.1:4711/api", ".stratbench/prefect", False, 1.0]


def test_only_our_own_file_is_removed(root: Path) -> None:
    settings_file.write("http://127.0.0.1:4711/api")
    settings_file.remove()
    assert not settings_file.path().exists()
    settings_file.path().write_text("[api]\n")
    settings_file.remove()
    assert settings_file.path().read_text() == "[api]\n"


def test_file_of_the_users_is_never_overwritten(root: Path) -> None:
    settings_file.path().write_text("[logging]\n")
    with pytest.raises(StackError, match="is not written by stratbench"):
        settings_file.write("http://127.0.0.1:4711/api")
    assert settings_file.path().read_text() == "[logging]\n"
