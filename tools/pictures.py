"""Draw the screenshots of docs/set-up.md as SVG.

Run real commands in a pseudo-terminal of 80 columns, against the sandbox, in a temporary home.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from onetribe_bc.sandbox import Sandbox
from tools.documents import ROOT

COLUMNS = 80
FOLDER = "shop"
HOME = "/home/you"
"""Shown instead of the temporary home."""

_CHARACTER = 12.2
"""The width of a character in rich's SVG."""

_INDENTED = re.compile(
    r'x="(?P<x>[\d.]+)"(?P<y> y="[\d.]+" )textLength="(?P<length>[\d.]+)"'
    r'(?P<clip> clip-path="[^"]*">)(?P<spaces>(?:&#160;)+)(?=[^<&])'
)
_PATIENCE_S = 30
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][A-Z0-9]|\r|\n|\x07")

# Rich's own format, without the fonts that it would load from the web.
_SVG = """\
<svg class="bc2ot" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

_THEME = TerminalTheme(
    (30, 32, 38),
    (222, 224, 228),
    [
        *((60, 64, 72), (232, 104, 100), (126, 196, 118), (222, 184, 96)),
        *((104, 160, 232), (196, 132, 220), (96, 196, 200), (222, 224, 228)),
    ],
)


@dataclass(frozen=True)
class Shot:
    """One screenshot: command lines, and pairs of a prompt's text and the input to type there."""

    name: str
    commands: Sequence[str]
    answers: Sequence[tuple[str, str]] = ()


def shots(sandbox: Sandbox) -> list[Shot]:
    """Return the screenshots in the guide's order; each continues where the previous one ended."""
    return [
        Shot(
            "init",
            ["bc2ot init"],
            [
                ("Where [1]", ""),
                ("Store hash", sandbox.store_hash),
                ("How [1]", ""),
                ("hidden", sandbox.access_token),
                ("How [1]", ""),
                ("hidden", sandbox.onetribe_url),
            ],
        ),
        Shot("doctor", ["bc2ot doctor"]),
        Shot(
            "backfill",
            ["bc2ot backfill --since 30d --dry-run", "bc2ot backfill --since 30d"],
        ),
        Shot("status", ["bc2ot sync --since 30d", "bc2ot status"]),
    ]


# A terminal


def run(command: str, environment: Mapping[str, str], answers: Sequence[tuple[str, str]]) -> str:
    """Run a command line in a terminal, type the answers, and return its output.

    Raises TimeoutError if the command does not end in time.
    """
    process, terminal = pty.fork()
    if process == 0:  # the child
        os.environ.clear()
        os.environ.update(environment)
        os.execvp("bash", ["bash", "-c", command])
    left, output, asked = list(answers), b"", 0
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            output += os.read(terminal, 65536)
        except OSError:  # the command has ended
            break
        if left and left[0][0].encode() in output[asked:]:
            asked = len(output)
            os.write(terminal, left.pop(0)[1].encode() + b"\n")
    else:
        raise TimeoutError(output.decode())
    os.close(terminal)
    os.waitpid(process, 0)
    return output.decode()


class Screen:
    """The lines that remain on a terminal: erased progress bars are not among them.

    Colors are kept, as escape sequences around each character.
    """

    def __init__(self, output: str) -> None:
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self._style = ""
        position = 0
        for match in _CONTROL.finditer(output):
            self._write(output[position : match.start()])
            self._apply(match[0], match[1] or "", match[2] or "")
            position = match.end()
        self._write(output[position:])

    @property
    def lines(self) -> list[str]:
        """All lines up to the last that is not empty."""
        shown = ["".join(line).rstrip() for line in self._lines]
        while shown and not shown[-1]:
            shown.pop()
        return shown

    def _write(self, text: str) -> None:
        line = self._lines[self._row]
        for character in text:
            line += [" "] * (self._column + 1 - len(line))
            line[self._column] = f"{self._style}{character}\x1b[0m" if self._style else character
            self._column += 1

    def _apply(self, control: str, parameters: str, kind: str) -> None:
        if control == "\r":
            self._column = 0
        elif control == "\n":
            self._row += 1
            if self._row == len(self._lines):
                self._lines.append([])
        elif kind == "A":
            self._row = max(0, self._row - int(parameters or 1))
        elif kind == "K":
            line = self._lines[self._row]
            self._lines[self._row] = [] if parameters == "2" else line[: self._column]
        elif kind == "m":
            self._style = "" if parameters in ("", "0") else self._style + control


# A picture


def draw(name: str, lines: Sequence[str]) -> str:
    """Return the lines as SVG."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        _environ={},
    )
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False, highlight=False)
    console.print()  # so that the last line's descenders are not cut off
    svg = console.export_svg(title="", theme=_THEME, code_format=_SVG, unique_id=f"{name}-picture")
    svg = _INDENTED.sub(_moved, svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _moved(match: re.Match[str]) -> str:
    """Start a text at its first letter, as some viewers drop leading spaces."""
    spaces = match["spaces"].count(";")
    x = float(match["x"]) + spaces * _CHARACTER
    return (
        f'x="{x:g}"{match["y"]}textLength="{float(match["length"]) - spaces * _CHARACTER:g}"'
        + (match["clip"])
    )


def iter_pictures(home: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and SVG of each screenshot, taken in `home`."""
    work = home / FOLDER
    work.mkdir()
    programs = home / ".local/bin"
    programs.mkdir(parents=True)
    (programs / "bc2ot").symlink_to(Path(sys.executable).parent / "bc2ot")
    with Sandbox(60, seed=7, quota=None, port=8025, onetribe_port=8026) as sandbox:
        environment = {
            "BC2OT_API_URL": sandbox.api_url,
            "COLUMNS": str(COLUMNS),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "LINES": "40",
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "PWD": str(work),
            "TERM": "xterm-256color",
        }
        os.chdir(work)
        for shot in shots(sandbox):
            lines: list[str] = []
            for command in shot.commands:
                output = run(command, environment, shot.answers)
                lines += ["", f"\x1b[1m$ {command}\x1b[0m", *Screen(output).lines]
            # Show no path of this machine.
            yield shot.name, draw(shot.name, [line.replace(str(home), HOME) for line in lines[1:]])


def main() -> None:
    """Redraw all screenshots."""
    if shutil.which("bash") is None:
        sys.exit("bash is needed")
    folder = ROOT / "docs/pictures"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for name, svg in iter_pictures(Path(home).resolve()):
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    subprocess.run(["ls", "-l", str(folder)], check=False)


if __name__ == "__main__":
    main()
