"""Where the configuration is found, and what overrides what."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from onetribe_bc.config import UserDirectories, load
from onetribe_bc.config.settings import (
    SETTINGS,
    BigCommerceSettings,
    DeliverySettings,
    OrderSettings,
)
from onetribe_bc.errors import ConfigurationError, ExitCode, InputError
from tests.configuring import FULL, Desk, desk_fixture  # noqa: F401

ROOT = Path(__file__).parent.parent
URL = "https://api.example.com/direct/webhook/big-commerce/order/env-key"
STORES = """
stores:
  uk:
    bigcommerce: {store_hash: def456, access_token: uk-token}
    onetribe: {url: https://api.example.com/direct/webhook/big-commerce/order/uk-key}
    delivery: {timeout: {read: 60}}
    orders: {skip_statuses: []}
    timezone: Europe/London
    ledger: uk.db
  de-shop:
"""


def test_a_file_with_the_three_needed_settings_leaves_the_rest_at_its_defaults(desk: Desk) -> None:
    settings = desk.load(FULL)
    assert settings.need_store_hash() == "abc123"
    assert settings.need_access_token().reveal() == "top-token"
    assert settings.need_onetribe_url().reveal().endswith("/top-key")
    assert settings.bigcommerce.api_url == BigCommerceSettings().api_url
    assert settings.orders == OrderSettings()
    assert settings.delivery == DeliverySettings()
    assert settings.ledger == desk.folder / "state" / "ledger.db"
    assert settings.timezone.key == "UTC"
    assert settings.warnings == ()
    assert settings.source == desk.file
    assert settings.store_name is None


def test_settings_show_no_secret(desk: Desk) -> None:
    settings = desk.load(FULL)
    assert "top-" not in repr(settings)
    assert settings.onetribe.masked == (
        "https://api.example.com/direct/webhook/big-commerce/order/****"
    )
    assert replace(settings.onetribe, url=None).masked == ""


def test_with_three_variables_no_file_is_needed(desk: Desk) -> None:
    desk.environ = {
        "BC2OT_STORE_HASH": "abc123",
        "BC2OT_ACCESS_TOKEN": "env-token",
        "BC2OT_ONETRIBE_URL": URL,
    }
    settings = desk.load()
    assert settings.need_access_token().reveal() == "env-token"
    assert settings.need_onetribe_url().reveal() == URL
    assert (settings.source, settings.stores) == (None, ())
    assert desk.load("").need_store_hash() == "abc123"


def test_every_variable_overrides_the_file(desk: Desk) -> None:
    desk.environ = {
        "BC2OT_STORE_HASH": "zzz",
        "BC2OT_ACCESS_TOKEN": "env-token",
        "BC2OT_CLIENT_SECRET": "env-secret",
        "BC2OT_API_URL": "http://127.0.0.1:8080/",
        "BC2OT_ONETRIBE_URL": URL,
        "BC2OT_LEDGER": str(desk.cwd / "env.db"),
        "BC2OT_WORKERS": "3",
    }
    settings = desk.load(FULL + "ledger: file.db\ndelivery: {workers: 2, attempts: 7}")
    assert settings.need_store_hash() == "zzz"
    assert settings.need_access_token().reveal() == "env-token"
    assert settings.bigcommerce.client_secret is not None
    assert settings.bigcommerce.client_secret.reveal() == "env-secret"
    assert settings.bigcommerce.api_url == "http://127.0.0.1:8080"
    assert settings.need_onetribe_url().reveal() == URL
    assert settings.ledger == desk.cwd / "env.db"
    assert (settings.delivery.workers, settings.delivery.attempts) == (3, 7)


def test_an_option_overrides_a_variable_and_a_variable_the_file_unless_unset(desk: Desk) -> None:
    desk.write(FULL + "delivery: {workers: 1}")
    assert desk.load().delivery.workers == 1
    desk.environ["BC2OT_WORKERS"] = "2"
    assert desk.load().delivery.workers == 2
    assert desk.load(overrides={"delivery.workers": 3}).delivery.workers == 3
    desk.environ["BC2OT_WORKERS"] = ""
    options = {
        "delivery.workers": None,
        "bigcommerce.reserve": 0.25,
        "orders.skip_statuses": [5, "pending"],
        "monitor.textfile": Path("here.prom"),
    }
    settings = desk.load(overrides=options)
    assert (settings.delivery.workers, settings.bigcommerce.reserve) == (1, 0.25)
    assert settings.orders.skip_statuses == (5, "Pending")
    assert settings.monitor.textfile == desk.cwd / "here.prom"


def test_an_invalid_option_is_a_usage_error(desk: Desk) -> None:
    with pytest.raises(InputError, match=r"command line: delivery\.workers must be") as caught:
        desk.load(FULL, overrides={"delivery.workers": 65})
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["delivery.wrokers", "bigcommerce.access_token", "stores"])
def test_no_option_sets_a_secret_or_an_unknown_key(desk: Desk, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set by an option"):
        desk.load(FULL, overrides={name: "x"})


def test_a_value_that_a_variable_overrides_is_not_read(desk: Desk) -> None:
    desk.environ["BC2OT_ACCESS_TOKEN"] = "env-token"
    settings = desk.load("bigcommerce: {access_token_file: missing}\ndelivery: {workers: 2}")
    assert settings.need_access_token().reveal() == "env-token"


# Finding the file


def test_the_file_is_searched_for_in_four_places_in_order(desk: Desk) -> None:
    def found(path: Path | None = None) -> str:
        return desk.load(path=path).need_store_hash()

    for name, path in {
        "asked": desk.cwd / "asked.yaml",
        "variable": desk.folder / "variable.yaml",
        "local": desk.file,
        "user": desk.directories.config / "config.yaml",
    }.items():
        desk.write(f"bigcommerce: {{store_hash: {name}}}", path)
    desk.environ["BC2OT_CONFIG"] = str(desk.folder / "variable.yaml")
    assert found(Path("asked.yaml")) == "asked"
    assert found() == "variable"
    desk.environ.clear()
    assert found() == "local"
    desk.file.unlink()
    assert found() == "user"


def test_a_named_file_must_exist(desk: Desk) -> None:
    desk.write(FULL)
    with pytest.raises(ConfigurationError, match=r"--config names .* not exist: .*other\.yaml"):
        desk.load(path=Path("other.yaml"))
    desk.environ["BC2OT_CONFIG"] = str(desk.cwd / "bc2ot.yaml/x")
    assert "BC2OT_CONFIG names a file that does not exist" in desk.refusal()
    desk.environ["BC2OT_CONFIG"] = "~someone/mine.yaml"
    assert "The path in BC2OT_CONFIG starts with a ~" in desk.refusal()
    desk.write(FULL, desk.directories.home / "mine.yaml")
    desk.environ["BC2OT_CONFIG"] = "~/mine.yaml"
    assert desk.load().source == desk.directories.home / "mine.yaml"


def test_without_configuration_the_error_lists_the_places_and_the_first_step(
    desk: Desk,
) -> None:
    message = desk.refusal()
    assert "--config and BC2OT_CONFIG are not set" in message
    assert f"{desk.file}, {desk.directories.config_file}" in message
    assert "bc2ot init" in message
    assert "BC2OT_STORE_HASH, BC2OT_ACCESS_TOKEN and BC2OT_ONETRIBE_URL" in message


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "---\n", "delivery:\n"])
def test_an_empty_file_is_an_error_with_the_first_step(desk: Desk, content: str) -> None:
    message = desk.refusal(content)
    assert f"{desk.file} is empty" in message
    assert "bc2ot init" in message


def test_user_directories_are_those_of_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    directories = UserDirectories.of_user()
    assert directories.home == tmp_path / "HOME"
    assert directories.config.name == directories.state.name == "bc2ot"
    assert directories.config.is_relative_to(tmp_path)
    settings = load(path=None, environ={"BC2OT_STORE_HASH": "abc123"}, cwd=tmp_path)
    assert settings.ledger == directories.state / "ledger.db"


def test_without_a_home_the_ledger_must_be_set(desk: Desk) -> None:
    nowhere = UserDirectories(config=Path("~/c"), state=Path("~/s"), home=Path("~"))
    desk.write(FULL)
    with pytest.raises(ConfigurationError, match="no home directory") as caught:
        desk.load(directories=nowhere)
    assert "BC2OT_LEDGER" in caught.value.hint
    desk.environ["BC2OT_LEDGER"] = "/var/lib/bc2ot/ledger.db"
    assert desk.load(directories=nowhere).ledger == Path("/var/lib/bc2ot/ledger.db")


# What a command needs


@pytest.mark.parametrize(
    ("need", "key", "variable"),
    [
        ("need_store_hash", "bigcommerce.store_hash", "BC2OT_STORE_HASH"),
        ("need_access_token", "bigcommerce.access_token", "BC2OT_ACCESS_TOKEN"),
        ("need_onetribe_url", "onetribe.url", "BC2OT_ONETRIBE_URL"),
    ],
)
def test_a_missing_setting_is_named_with_its_variable_and_file(
    desk: Desk, need: str, key: str, variable: str
) -> None:
    desk.environ["BC2OT_WORKERS"] = "2"
    for content, place in ((None, ""), ("timezone: UTC", str(desk.file))):
        settings = desk.load(content)
        with pytest.raises(ConfigurationError, match=f"^{key} is not set") as caught:
            getattr(settings, need)()
        assert variable in caught.value.hint
        assert place in caught.value.hint


def test_a_named_store_with_a_missing_setting_gets_no_hint_at_variables(desk: Desk) -> None:
    settings = desk.load("stores: {uk: {timezone: UTC}, de: }", store="uk")
    with pytest.raises(
        ConfigurationError, match=r"^stores\.uk\.onetribe\.url is not set"
    ) as caught:
        settings.need_onetribe_url()
    assert "BC2OT_" not in caught.value.hint
    with pytest.raises(ConfigurationError) as caught:
        desk.load().need_store_hash()
    assert "--store: uk, de" in caught.value.hint


# More stores


def test_a_store_inherits_what_it_does_not_set(desk: Desk) -> None:
    content = FULL + "delivery: {workers: 4, timeout: {connect: 2, read: 20}}" + STORES
    uk = desk.load(content, store="uk")
    assert uk.store_name == "uk"
    assert uk.need_store_hash() == "def456"
    assert uk.need_access_token().reveal() == "uk-token"
    assert uk.need_onetribe_url().reveal().endswith("/uk-key")
    assert uk.delivery == DeliverySettings(workers=4, connect_timeout_s=2, read_timeout_s=60)
    assert uk.orders.skip_statuses == ()
    assert uk.timezone.key == "Europe/London"
    assert uk.ledger == desk.cwd / "uk.db"
    top = desk.load()
    assert top.need_store_hash() == "abc123"
    assert top.delivery.read_timeout_s == 20
    assert desk.load(store="de-shop").bigcommerce == top.bigcommerce
    assert top.stores == desk.names(content) == ("uk", "de-shop")
    assert desk.names(FULL) == ()
    desk.environ = {"BC2OT_WORKERS": "9", "BC2OT_LEDGER": "/x/y.db"}
    uk = desk.load(content, store="uk")
    assert (uk.delivery.workers, uk.ledger) == (9, Path("/x/y.db"))


def test_a_store_may_override_a_value_with_a_file(desk: Desk) -> None:
    desk.write("from-file\n", desk.cwd / "token")
    content = FULL + "stores: {uk: {bigcommerce: {access_token_file: token}}}"
    assert desk.load(content, store="uk").need_access_token().reveal() == "from-file"


def test_an_unknown_store_is_an_error_with_the_nearest_and_all_names(desk: Desk) -> None:
    message = desk.refusal(FULL + STORES, store="de_shop")
    assert 'no store "de_shop"; did you mean de-shop?' in message
    assert "uk, de-shop" in message
    assert "Its stores: none" in desk.refusal(FULL, store="uk")
    desk.file.unlink()
    desk.environ["BC2OT_WORKERS"] = "1"
    assert "--store needs a configuration file" in desk.refusal(store="uk")


@pytest.mark.parametrize("variable", [one.variable for one in SETTINGS.values() if one.of_store])
def test_a_variable_of_one_store_is_refused_with_a_named_store(desk: Desk, variable: str) -> None:
    desk.environ = {variable: "leftover"}
    message = desk.refusal(FULL + STORES, store="uk")
    assert variable in message
    assert "leftover" not in message


def test_a_variable_of_another_store_need_not_be_set(desk: Desk) -> None:
    content = FULL + "stores: {uk: {bigcommerce: {access_token: '${UK_TOKEN}'}}}"
    assert desk.load(content).need_access_token().reveal() == "top-token"
    assert "UK_TOKEN, which is not set" in desk.refusal(store="uk")


# Files that others can read


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_reported_with_the_fix(desk: Desk, mode: int) -> None:
    desk.write(FULL, mode=mode)
    (warning,) = map(str, desk.load().warnings)
    assert f"chmod 600 {desk.file}" in warning
    desk.file.chmod(0o600)
    secret = desk.write("s3cret", desk.cwd / "my token", mode=mode)
    (warning,) = map(str, desk.load("bigcommerce: {access_token_file: my token}").warnings)
    assert f"chmod 600 '{secret}'" in warning
    assert "s3cret" not in warning
    secret.chmod(0o600)
    assert desk.load().warnings == ()


# What ships with it


def test_slow_imports_wait_until_a_file_is_read() -> None:
    code = (
        "import sys, onetribe_bc.config, onetribe_bc.dates\n"
        "print(*{'yaml', 'platformdirs', 'requests'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.split() == []


def test_the_example_works_and_its_stores_once_they_are_uncommented(desk: Desk) -> None:
    example = (ROOT / "config.example.yaml").read_text()
    before, start, stores = example.partition("# stores:\n")
    plain = "".join(line.removeprefix("# ") for line in (start + stores).splitlines(keepends=True))
    desk.environ = {"BIGCOMMERCE_ACCESS_TOKEN": "token", "ONETRIBE_URL": URL}
    top = desk.load(example)
    assert (top.orders, top.delivery) == (OrderSettings(), DeliverySettings())
    desk.environ = {"BIGCOMMERCE_UK_ACCESS_TOKEN": "uk-token", "ONETRIBE_UK_URL": URL}
    settings = desk.load(before + plain, store="uk")
    assert settings.need_store_hash() == "def456"
    assert settings.need_access_token().reveal() == "uk-token"
