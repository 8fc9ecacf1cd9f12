"""deploy/Dockerfile fetches nothing that is not pinned, and runs as nobody in particular."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


class TestDockerfile:
    def test_pins_and_checks_everything_that_it_fetches(self) -> None:
        """Base images by version, packages by hash, builds without an index."""
        text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
        stages = {"wheels", "gamebus", "bots"}

        for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
            assert base in stages or re.search(r":\d+\.\d+-", base), base
        installs = re.findall(r"pip (?:install|wheel) .*", text)
        assert len(installs) == 6
        assert all("--require-hashes" in line or "--no-index" in line for line in installs)

    def test_runs_as_a_user_without_rights(self) -> None:
        """Every image that is run ends with a user that is not root."""
        text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
        for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[2:]:
            assert re.findall(r"^USER (\S+)", stage, re.MULTILINE)[-1] == "10001"

    def test_copies_only_what_exists_and_is_not_ignored(self) -> None:
        """A renamed file is found here and not in the release pipeline."""
        allowed = {
            line[1:]
            for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
            if line.startswith("!")
        }
        for line in re.findall(
            r"^COPY (?!--)(.*)", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
        ):
            for source in line.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
