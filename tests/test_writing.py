"""The configuration file that `init` writes: its content, and how it is written."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from onetribe_bc.config.settings import SETTINGS
from onetribe_bc.config.sources import Source
from onetribe_bc.config.write import check_target, render, write
from onetribe_bc.errors import ConfigurationError, InputError
from tests.configuring import Desk, desk_fixture  # noqa: F401

VISIBLE = [chr(code) for code in range(33, 127)]
URL = "https://api.example.com/direct/webhook/big-commerce/order/"
URL_CHARACTERS = "abcXYZ019._~:@!$&'()*+,;=%-[]"


def source(raw: str, *, names_file: bool = False, has_variables: bool = False) -> Source:
    return Source("it", "an answer", raw, Path("/"), names_file, has_variables)


def answers(store_hash: str = "abc123", token: str = "t0ken", url: str = f"{URL}key") -> str:
    return render(
        {
            "bigcommerce.store_hash": source(store_hash),
            "bigcommerce.access_token": source(token),
            "onetribe.url": source(url),
        }
    )


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Content


@given(
    store_hash=st.text("abcxyz0189", min_size=1, max_size=12),
    token=st.text(VISIBLE, min_size=1, max_size=60).map("0{}0".format),
    key=st.text(URL_CHARACTERS, min_size=1, max_size=40).map("{}0".format),
)
@settings(max_examples=300)
def test_a_written_file_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, store_hash: str, token: str, key: str
) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    loaded = desk.load(answers(store_hash, token, URL + key))
    assert loaded.need_store_hash() == store_hash
    assert loaded.need_access_token().reveal() == token
    assert loaded.need_onetribe_url().reveal() == URL + key


@pytest.mark.parametrize(
    "token",
    ["0${HOME}", "$$", "$", "a#b", "a:b", "a'b", 'a"b', "\\", "\\n", "!a", "&a", "*a", "%", "1e5"],
)
def test_special_characters_in_a_token_are_kept(desk: Desk, token: str) -> None:
    assert desk.load(answers(token=token)).need_access_token().reveal() == token


@given(
    name=st.text(min_size=1, max_size=30).filter(lambda name: name.strip() and name.isprintable())
)
def test_a_path_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    secret = desk.folder / f"0{name.translate(str.maketrans('/.$%`{;#', '________'))}0"
    try:
        secret.write_text("t0ken\n", encoding="utf-8")
    except OSError:  # too long, in bytes
        return
    secret.chmod(0o600)
    named = source(str(secret), names_file=True)
    loaded = desk.load(render({"bigcommerce.access_token": named}))
    assert loaded.need_access_token().reveal() == "t0ken"
    assert not loaded.warnings


def test_the_file_names_a_variable_without_its_value(desk: Desk) -> None:
    desk.environ["SHOP_TOKEN"] = "t$0ken"
    named = source("${SHOP_TOKEN}", has_variables=True)
    text = render({"bigcommerce.access_token": named})
    assert "t$0ken" not in text
    assert desk.load(text).need_access_token().reveal() == "t$0ken"


def test_the_file_explains_every_key() -> None:
    words = " ".join(line.strip("# ") for line in answers().splitlines())
    for name, setting in SETTINGS.items():
        assert f"{name.rpartition('.')[2]}:" in answers()
        assert setting.meaning.removesuffix(".") in words


def test_commented_values_are_the_defaults(desk: Desk) -> None:
    lines = answers().splitlines()
    live = [re.sub(r"^( *)# ([a-z_]+: .)", r"\1\2", line) for line in lines]
    assert sum(a != b for a, b in zip(lines, live, strict=True)) >= 9
    read, defaults = desk.load("\n".join(live)), desk.load("\n".join(lines))
    assert replace(read, skip_statuses_at="") == defaults


def test_commented_keys_are_in_their_sections() -> None:
    settings, _, _stores = answers().partition("# stores:")
    live = re.sub(r"(?m)^( *)# ([a-z_]+):.*$", r"\1\2: x", settings)

    def names(section: dict[str, object], above: str = "") -> list[str]:
        found = []
        for name, value in section.items():
            found += names(value, f"{above}{name}.") if isinstance(value, dict) else [above + name]
        return found

    assert names(yaml.safe_load(live)) == list(SETTINGS)


def test_lines_are_at_most_100_columns_wide() -> None:
    assert max(map(len, answers().splitlines())) <= 100


# Writing


def test_only_the_owner_can_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = tmp_path / "new" / "folder" / "config.yaml"
        assert write(file, "a: 1\n", overwrite=False) is None
    finally:
        os.umask(before)
    assert file.read_text() == "a: 1\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (file.parent, file.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert entries(file.parent) == ["config.yaml"]


def test_an_existing_file_is_not_overwritten_by_default(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mine")
    with pytest.raises(InputError, match="already") as caught:
        write(file, "a: 1\n", overwrite=False)
    assert "--overwrite" in caught.value.hint
    assert file.read_text() == "mine"
    assert entries(tmp_path) == ["config.yaml"]


def test_a_replaced_file_is_backed_up(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    kept = {"config.yaml": "third", "config.yaml.bak": "first", "config.yaml.bak.2": "second"}
    backups: list[Path | None] = []
    for number, text in enumerate(["first", "second", "third"]):
        file.chmod(0o644) if number else None
        backups.append(write(file, text, overwrite=True))
    assert backups == [None, tmp_path / "config.yaml.bak", tmp_path / "config.yaml.bak.2"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == kept
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "bc2ot.yaml"
    link = tmp_path / "bc2ot.yaml"
    link.symlink_to(real)
    write(link, "a: 1\n", overwrite=False)
    assert link.is_symlink()
    assert real.read_text() == "a: 1\n"


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_hard_links_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "config.yaml"
    if taken:
        file.write_text("mine")
        with pytest.raises(InputError, match="already"):
            write(file, "a: 1\n", overwrite=False)
    else:
        write(file, "a: 1\n", overwrite=False)
    assert file.read_text() == ("mine" if taken else "a: 1\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or taken
    assert entries(tmp_path) == ["config.yaml"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        write(tmp_path / "config.yaml", "a: 1\n", overwrite=False)
    assert entries(tmp_path) == []


def test_an_unusable_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is not a directory that you can write to"):
        check_target(tmp_path / "file" / "config.yaml")
    with pytest.raises(InputError, match="is not a file"):
        check_target(tmp_path)
    with pytest.raises(ConfigurationError, match=r"Cannot read .*: File name too long"):
        check_target(tmp_path / ("a" * 300) / "config.yaml")
    assert not check_target(tmp_path / "not" / "yet" / "config.yaml")
    assert check_target(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="Cannot write the configuration file"):
        write(tmp_path / "file" / "config.yaml", "", overwrite=False)


def test_every_secret_can_be_in_a_file() -> None:
    for one in (one for one in SETTINGS.values() if one.kind.secret):
        named = source("/run/secret", names_file=True)
        assert f'{one.file_name.rpartition(".")[2]}: "/run/secret"' in render({one.name: named})
