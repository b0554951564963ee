import os
import sys
from pathlib import Path

from flows.stack import environment

USERS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "CUDA_VISIBLE_DEVICES": "1",
    "PREFECT_PROFILE": "work",
    "PREFECT_HOME": "/home/me/.prefect",
    "PREFECT_API_KEY": "secret",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://db/prefect",
    "PREFECT__FLOW_RUN_ID": "x",
}


def test_our_server_takes_over_nothing_of_the_users_but_what_is_listed(root: Path) -> None:
    ours = environment.of_our_server(4711, USERS)
    assert not {"PREFECT_PROFILE", "PREFECT_API_KEY", "PREFECT__FLOW_RUN_ID"} & ours.keys()
    assert ours["PREFECT_HOME"] == str(root / ".stratbench" / "prefect")
    assert ours["PREFECT_API_URL"] == "http://127.0.0.1:4711/api"
    assert ours["PREFECT_SERVER_API_PORT"] == "4711"
    assert ours["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == USERS["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert (ours["HOME"], ours["CUDA_VISIBLE_DEVICES"]) == ("/home/me", "1")


def test_users_server_is_reached_with_the_users_settings(root: Path) -> None:
    theirs = environment.of_users_server("http://prefect.example/api", USERS)
    assert (theirs["PREFECT_PROFILE"], theirs["PREFECT_API_KEY"]) == ("work", "secret")
    assert theirs["PREFECT_HOME"] == "/home/me/.prefect"
    assert theirs["PREFECT_API_URL"] == "http://prefect.example/api"
    assert "PREFECT__FLOW_RUN_ID" not in theirs


def test_python_is_this_interpreter_and_the_root_is_absolute(root: Path) -> None:
    for made in (environment.of_our_server(1, USERS), environment.of_users_server("x", USERS)):
        assert made["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"
        assert made["STRATBENCH_ROOT"] == str(root)
