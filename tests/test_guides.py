"""The pages for people say what is there: tests, links, settings and metrics that a page names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gamebus.cli import _metrics
from gamebus.cli.docs import settings_page

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _prose(page: Path) -> str:
    """Without what stands in fenced or indented code."""
    return re.sub(r"^(?:    [^\n]*|```.*?^```)$", "", _text(page), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Anchors of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _text(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
class TestPages:
    def test_links_lead_somewhere(self, page: Path) -> None:
        """Every relative link names a file or folder of the repository, and its anchor a heading there."""
        broken = []
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                broken.append(target)
        assert broken == []

    def test_named_tests_exist(self, page: Path) -> None:
        """`test_module::test_name` is a test in a file of that name."""
        missing = []
        for module, test in re.findall(r"\b(test_\w+)::(test_\w+)", _text(page)):
            files = ROOT.glob(f"tests/**/{module}.py")
            if not any(re.search(rf"\bdef {test}\(", _text(file)) for file in files):
                missing.append(f"{module}::{test}")
        assert missing == []

    def test_named_settings_have_the_default_that_stands_beside_them(self, page: Path) -> None:
        """Tables of settings agree with the code."""
        rows = re.findall(r"^(\| `GAMEBUS_\w+` \| `[^`]*` \|)", _text(page), flags=re.MULTILINE)
        assert [row for row in rows if row not in settings_page()] == []

    def test_named_metrics_exist(self, page: Path) -> None:
        """What an operator is told to look at is exported."""
        known = {metric.name for _, metric in _metrics.metrics()}
        components = "|".join(component.name for component in _metrics.COMPONENTS)
        named = re.findall(rf"\bgamebus_(?:{components})_\w+", _text(page))
        assert sorted(set(named) - known) == []


class TestGuide:
    def test_every_failure_names_its_test(self) -> None:
        """No row of the failure tables stands on a claim."""
        rows = re.findall(
            r"^\|.*\|$", _text(ROOT / "docs" / "delivery.md").partition("## What happens when")[2], re.MULTILINE
        )
        section = rows[: next(index for index, row in enumerate(rows) if "Kafka transactions" in row)]
        claims = [row for row in section if not row.startswith(("| failure", "|---"))]
        assert len(claims) >= 24
        assert [row for row in claims if "::test_" not in row] == []
